//! The first packet against section 3.1.

use mainstay_core::codec::{Connect, encode_connect};

use super::{bounds::CONNECT_BYTES, connect::*, refuse::Reject};

fn connect(client_id: &str, clean_session: bool) -> Connect<'_> {
    Connect {
        clean_session,
        keep_alive: 60,
        client_id,
        will: None,
        username: None,
        password: None,
    }
}

fn bytes(connect: &Connect<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_connect(&mut bytes, connect).unwrap();
    bytes
}

fn rejected(bytes: &[u8]) -> Reject {
    match read(bytes) {
        Err((why, _)) => why,
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn a_whole_connect_is_read_and_what_follows_is_left() {
    let mut packet = bytes(&connect("a", true));
    let length = packet.len();
    packet.extend_from_slice(&[0xc0, 0]);
    for cut in 0..length {
        let Ok(First::Incomplete { length: known }) = read(&packet[..cut]) else {
            panic!("{cut}")
        };
        assert_eq!(known, (cut >= 2).then_some(length));
    }
    let Ok(First::Connect(read, used)) = read(&packet) else {
        panic!()
    };
    assert_eq!((read.client_id, used), ("a", length));
}

#[test]
fn mqtt_3_1_0_1_a_first_packet_that_is_no_connect_is_refused_at_its_first_byte() {
    for first in [0xc0, 0x30, 0x16, 0x20, 0x11, 0x00] {
        assert_eq!(rejected(&[first]), Reject::ProtocolError);
    }
}

#[test]
fn mqtt_3_1_2_2_another_level_is_answered() {
    let mut packet = bytes(&connect("a", true));
    packet[8] = 5;
    assert_eq!(rejected(&packet), Reject::UnsupportedVersion);
    assert_eq!(
        Reject::UnsupportedVersion.connack().map(|code| code as u8),
        Some(1)
    );
}

#[test]
fn a_connect_above_the_bound_is_refused_by_its_header() {
    let mut header = vec![0x10];
    let mut rest = CONNECT_BYTES;
    while rest > 0 {
        header.push((rest & 0x7f) as u8 | if rest > 0x7f { 0x80 } else { 0 });
        rest >>= 7;
    }
    assert_eq!(rejected(&header), Reject::TooLarge);
}

#[test]
fn mqtt_3_1_3_6_and_8_an_empty_client_id_needs_a_clean_session() {
    assert_eq!(
        client_id(&connect("", false), [1; 16]),
        Err(Reject::BadClientId)
    );
    assert_eq!(
        Reject::BadClientId.connack().map(|code| code as u8),
        Some(2)
    );
    let made = client_id(&connect("", true), [1; 16]).unwrap();
    assert_ne!(made, client_id(&connect("", true), [2; 16]).unwrap());
    let own = client_id(&connect("own", false), [1; 16]).unwrap();
    assert_eq!(&*own.0, "own");
}

#[test]
fn a_client_id_above_the_limit_is_refused() {
    let longest = "x".repeat(1024);
    assert!(client_id(&connect(&longest, true), [0; 16]).is_ok());
    let longer = "x".repeat(1025);
    assert_eq!(
        client_id(&connect(&longer, true), [0; 16]),
        Err(Reject::BadClientId)
    );
}
