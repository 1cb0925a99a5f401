//! Bits that turned, and streams that are shifted by some.

use std::sync::Arc;

use carve::{Carving, carve_shifted};
use evidence::view::{BitShifted, Memory};
use evidence::{ByteOffset, ReadAt, ReadAtExt};

use crate::{BLOCK, mail, volume};

#[test]
fn one_wrong_bit_of_a_signed_body_is_mended_and_noted() {
    let mut volume = volume();
    let sound = mail(3, 6000, true);
    volume.lay(20, &sound, 0, 99);
    volume.0[20 * BLOCK + 2000] ^= 2;
    let messages = volume.carve();
    assert_eq!(messages[0].found.repairs.len(), 1);
    assert_eq!(volume.whole(), [sound]);
}

#[test]
fn a_turned_byte_in_a_header_does_not_make_its_rest_a_message() {
    let mut content = mail(3, 9000, true);
    content[20] = 1;
    let mut volume = volume();
    volume.lay(16, &content, 0, 8);
    let all = volume.carve();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].found.pieces[0].0, 16 * BLOCK as u64);
}

/// `bytes` with so many bits before them.
fn shifted(bytes: &[u8], bits: usize) -> Vec<u8> {
    let mut shifted = vec![0; bits / 8];
    let mut before = 0;
    for byte in bytes {
        let pair = u16::from_be_bytes([before, *byte]) >> (bits % 8);
        shifted.push(pair as u8);
        before = *byte;
    }
    shifted
}

#[test]
fn mail_in_streams_that_are_shifted_by_any_bits_comes_back_by_the_one_that_it_begins_at() {
    for bits in [1, 3, 7, 8 * 13, 8 * 511 + 5] {
        let mut mails: Vec<Vec<u8>> = (0..4).map(|n| mail(n, 9000, n % 2 == 0)).collect();
        let mut volume = volume();
        for (number, mail) in mails.iter().enumerate() {
            volume.lay(16 + 8 * number, mail, 0, 8);
        }
        // One in two pieces.
        let split = mail(9, 20000, true);
        volume.lay(100, &split, 0, 3).lay(120, &split, 3, 9);
        mails.push(split);
        let device: Arc<dyn ReadAt> = Arc::new(Memory::new(shifted(&volume.0, bits)));
        let streams = carve_shifted(&device, &[], &|_| ());
        let [stream] = streams.as_slice() else {
            panic!("{bits} bits: {} streams", streams.len());
        };
        assert_eq!(stream.bits, bits as u64);
        let view = BitShifted::new(Arc::clone(&device), stream.bits);
        let read = |message: &Carving| {
            let pieces = message.found.pieces.iter();
            let read =
                pieces.map(|(at, length)| view.read_vec(ByteOffset::new(*at), *length as usize));
            read.flat_map(|piece| piece.unwrap().0).collect()
        };
        let whole: Vec<Vec<u8>> = stream.carved.whole().map(read).collect();
        assert_eq!(whole, mails, "{bits} bits");
    }
}

#[test]
fn a_disk_whose_bits_are_where_they_should_be_has_no_shifted_stream() {
    let mut volume = volume();
    for number in 0..6 {
        volume.lay(16 + 8 * number, &mail(number as u64, 9000, true), 0, 8);
    }
    let device: Arc<dyn ReadAt> = Arc::new(Memory::new(volume.0));
    assert!(carve_shifted(&device, &[], &|_| ()).is_empty());
}
