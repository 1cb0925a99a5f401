//! Devices that hold nothing but evenly distributed bytes.
//!
//! VeraCrypt, plain dm-crypt and disks that encrypt themselves leave no header: their whole
//! contents are bytes of which each is as likely as any other. So is the output of a good
//! compressor, nearly; what tells them apart is that compressed data stand in files, which begin
//! with names and end in slack, and that a compressor's bytes are a little uneven, which shows when
//! many are counted. A device is only called so if every place that was looked at is even, the first
//! sector among them, and all of them counted together are.

use evidence::{ByteOffset, ReadAt, ReadAtExt};

/// How many places are looked at, and how long each is.
const PLACES: u64 = 512;
const PLACE_BYTES: usize = 16 << 10;
/// Fewer bytes decide nothing.
const LEAST_BYTES: u64 = 1 << 20;
/// The sum over all 256 values of the squared distance from what is expected, divided by that, is
/// 255 on average for even bytes, and spreads by 22.6 (the square root of twice that). Of one place
/// it is at most this: one in a thousand million exceeds it.
const MOST_IN_PLACE: f64 = 255.0 + 7.0 * 22.6;
/// Of all places together: one device in ten thousand exceeds it.
const MOST_IN_ALL: f64 = 255.0 + 4.0 * 22.6;

/// How many of the places that could be read hold evenly distributed bytes, if all do.
pub(super) fn places_of_noise(device: &dyn ReadAt) -> Option<u64> {
    if device.len() < LEAST_BYTES {
        return None;
    }
    let last = device.len().checked_sub(PLACE_BYTES as u64)?;
    let mut all = [0_u64; 256];
    let mut places = 0_u64;
    for number in 0..PLACES {
        // The first place is the beginning, the last one the end.
        let at = u128::from(last).saturating_mul(u128::from(number));
        let at = at.checked_div(u128::from(PLACES.saturating_sub(1)))?;
        let at = u64::try_from(at).ok()? & !511;
        let Some(bytes) = device.read_whole(ByteOffset::new(at), PLACE_BYTES) else {
            if number == 0 {
                return None;
            }
            continue;
        };
        let mut here = [0_u64; 256];
        for byte in &bytes {
            if let Some(count) = here.get_mut(usize::from(*byte)) {
                *count = count.saturating_add(1);
            }
        }
        if unevenness(&here) > MOST_IN_PLACE || is_structured(&bytes) {
            return None;
        }
        for (sum, count) in all.iter_mut().zip(here) {
            *sum = sum.saturating_add(count);
        }
        places = places.saturating_add(1);
    }
    // Half of a device that cannot be read says nothing of the other half.
    (places.saturating_mul(2) > PLACES && unevenness(&all) <= MOST_IN_ALL).then_some(places)
}

/// Pearson's statistic of how often each value occurs, against all being equally likely.
#[expect(
    clippy::cast_precision_loss,
    reason = "a statistic of counts of a few million"
)]
fn unevenness(counts: &[u64; 256]) -> f64 {
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / 256.0;
    let squares = counts.iter().map(|count| {
        let distance = *count as f64 - expected;
        distance * distance
    });
    squares.sum::<f64>() / expected
}

/// So many printable characters in a row are a text: even bytes have them once in 10^13 places.
const LEAST_TEXT: usize = 32;

/// Whether there is a text, sectors repeat each other, or one is uneven in itself: a small header
/// among noise.
fn is_structured(bytes: &[u8]) -> bool {
    let mut printable = bytes.split(|byte| !matches!(byte, b' '..=b'~'));
    if printable.any(|run| run.len() >= LEAST_TEXT) {
        return true;
    }
    let mut sectors: Vec<&[u8]> = bytes.chunks(512).collect();
    // Of 512 even bytes hardly any value occurs more than a dozen times.
    let is_uneven = sectors.iter().any(|sector| {
        let mut counts = [0_u16; 256];
        for byte in *sector {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count = count.saturating_add(1);
            }
        }
        counts.iter().any(|count| *count > 24)
    });
    sectors.sort_unstable();
    is_uneven || sectors.windows(2).any(|pair| pair.first() == pair.last())
}
