//! What would bring more: said by the report, and then brought.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{Incident, restante, succeed};

/// Says that ddrescue could not read `areas` of the image, by start and length.
fn not_rescued(image: &Path, areas: &[(u64, u64)]) {
    let mut map = "0x0 + 1\n".to_owned();
    let mut at = 0;
    for (start, bytes) in areas {
        map += &format!("{at:#x} {:#x} +\n{start:#x} {bytes:#x} -\n", start - at);
        at = start + bytes;
    }
    let end = fs::metadata(image).unwrap().len();
    map += &format!("{at:#x} {:#x} +\n", end - at);
    fs::write(mapfile(image), map).unwrap();
}

fn mapfile(image: &Path) -> std::path::PathBuf {
    image.with_extension("img.map")
}

fn report(incident: &Incident) -> Value {
    let text = fs::read(incident.path("case/report/report.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn an_area_that_is_read_at_last_brings_what_the_report_said() {
    let incident = Incident::new("drill");
    let disks = incident.disks();
    let image = &disks[0];
    let areas = [(8 << 20, 1 << 20), (20 << 20, 512 << 10)];
    not_rescued(image, &areas);
    let said = succeed(&mut incident.recover("case", "mail", &[]));
    assert!(said.contains("would bring more: "), "{said}");
    let before = report(&incident);
    let wanted = before["wanted"].as_array().unwrap();
    let of = |start: &str| {
        let found = wanted
            .iter()
            .find(|one| one["what"].as_str().unwrap().starts_with(start));
        found.unwrap_or_else(|| panic!("{start} is not in {wanted:?}"))
    };
    // In a RAID-5 either of two that are not there makes up for the other.
    let area = of("the areas of disk:");
    let member = of("the missing member in role ");
    let messages = area["messages"].as_u64().unwrap();
    assert!(messages > 0, "{area}");
    assert_eq!(area["messages"], member["messages"]);
    assert_eq!(area["with_others"], 0);
    for region in area["regions"].as_array().unwrap() {
        let start = region["start"].as_u64().unwrap();
        let end = start + region["bytes"].as_u64().unwrap();
        let inside = |(from, bytes): &(u64, u64)| *from <= start && end <= from + bytes;
        assert!(areas.iter().any(inside), "{region}");
    }

    fs::remove_file(mapfile(image)).unwrap();
    let name = image.file_stem().unwrap().to_str().unwrap();
    let mut again = restante();
    again.arg("scan").arg(incident.path("case"));
    succeed(again.args(["--again", name]));
    succeed(&mut incident.recover_again("case", "mail"));
    let after = report(&incident);
    let not_whole = |report: &Value| {
        let count = |what: &str| report["totals"][what].as_u64().unwrap();
        count("lost") + count("damaged")
    };
    assert_eq!(not_whole(&before) - not_whole(&after), messages);
    assert_eq!(after["wanted"], Value::Array(Vec::new()), "nothing is left");
}

#[test]
fn a_report_without_its_disks_says_what_it_did_not_try() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    fs::rename(incident.path("unpacked"), incident.path("away")).unwrap();
    let mut report_again = restante();
    let said = succeed(report_again.arg("report").arg(incident.path("case")));
    assert!(said.contains("was not tried: "), "{said}");
    assert!(report(&incident).get("wanted").is_none());
}
