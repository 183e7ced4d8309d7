//! The PROXY header against the protocol's text.

use super::proxy::*;

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&(body.len() as u16).to_be_bytes());
    header.extend_from_slice(body);
    header
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xc0, 0x01, 0x07, 0x5b];

fn with_checksum(tlvs: &[u8]) -> Vec<u8> {
    let mut body = IPV4.to_vec();
    body.extend_from_slice(tlvs);
    body.extend_from_slice(&[0x03, 0, 4, 0, 0, 0, 0]);
    let mut header = v2(0x21, 0x11, &body);
    let sum = crc32c::crc32c(&header).to_be_bytes();
    let end = header.len();
    header[end - 4..].copy_from_slice(&sum);
    header
}

fn source(bytes: &[u8]) -> Option<String> {
    match parse(bytes) {
        Ok(Parsed::Header { source, .. }) => source.map(|source| source.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn version_1_gives_the_source_and_leaves_what_follows() {
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 49153 1883\r\n\x10\x00";
    let Ok(Parsed::Header {
        length,
        source: Some(from),
    }) = parse(line)
    else {
        panic!()
    };
    assert_eq!(
        (length, from.to_string()),
        (line.len() - 2, "192.0.2.7:49153".to_owned())
    );
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 5 6\r\n";
    assert_eq!(source(six).as_deref(), Some("[2001:db8::7]:5"));
    assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
    assert_eq!(
        source(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"),
        None
    );
}

#[test]
fn version_1_that_is_malformed_is_refused() {
    for bad in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 49153\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 49153 1883 x\r\n",
        "PROXY TCP4 ::1 198.51.100.1 49153 1883\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 1883\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 1883\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 01 1883\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 1\r\n",
        "PROXY  TCP4 192.0.2.7 198.51.100.1 1 1\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(parse(bad.as_bytes()), Err(ProxyError::Line), "{bad:?}");
    }
    let mut long = b"PROXY UNKNOWN ".to_vec();
    long.resize(106, b'x');
    assert_eq!(parse(&long), Ok(Parsed::Incomplete));
    long.push(b'x');
    assert_eq!(parse(&long), Err(ProxyError::LineTooLong));
    long.truncate(105);
    long.extend_from_slice(b"\r\n");
    assert_eq!(source(&long), None, "107 bytes are allowed");
}

#[test]
fn version_2_gives_the_source() {
    assert_eq!(
        source(&v2(0x21, 0x11, &IPV4)).as_deref(),
        Some("192.0.2.7:49153")
    );
    let mut six = [0; 36];
    six[15] = 7;
    six[33] = 9;
    assert_eq!(source(&v2(0x21, 0x21, &six)).as_deref(), Some("[::7]:9"));
    assert_eq!(source(&v2(0x21, 0x31, &[0; 216])), None, "Unix");
    assert_eq!(source(&v2(0x21, 0x00, &[])), None, "unspecified");
    assert_eq!(
        source(&v2(0x20, 0x00, &[])),
        None,
        "the balancer's own check"
    );
    assert_eq!(
        source(&v2(0x20, 0x11, &IPV4)),
        None,
        "the balancer's own check"
    );
}

#[test]
fn version_2_that_is_malformed_is_refused() {
    assert_eq!(
        parse(&v2(0x22, 0x11, &IPV4)),
        Err(ProxyError::Command(0x22))
    );
    assert_eq!(
        parse(&v2(0x11, 0x11, &IPV4)),
        Err(ProxyError::Command(0x11))
    );
    assert_eq!(
        parse(&v2(0x21, 0x11, &IPV4[..11])),
        Err(ProxyError::TooShort)
    );
    let mut tlv = IPV4.to_vec();
    tlv.extend_from_slice(&[0x04, 0, 9, 0]);
    assert_eq!(parse(&v2(0x21, 0x11, &tlv)), Err(ProxyError::Tlv));
    let mut large = IPV4.to_vec();
    large.extend_from_slice(&[0x04, 0x10, 0x00]);
    large.resize(12 + 3 + 0x1000, 0);
    assert!(matches!(
        parse(&v2(0x21, 0x11, &large)),
        Err(ProxyError::TooLong(_))
    ));
    assert!(matches!(
        parse(&v2(0x21, 0x11, &[0; 60_000])),
        Err(ProxyError::TooLong(_))
    ));
}

#[test]
fn version_2_checks_the_checksum_when_there_is_one() {
    for tlvs in [&[][..], &[0xee, 0, 2, 1, 2]] {
        let mut header = with_checksum(tlvs);
        assert_eq!(source(&header).as_deref(), Some("192.0.2.7:49153"));
        header[16] ^= 1;
        assert_eq!(parse(&header), Err(ProxyError::Checksum));
    }
    // Planted: a checksum whose own place was not zeroed is wrong.
    let mut header = with_checksum(&[]);
    let end = header.len();
    header[end - 1] ^= 0xff;
    assert_eq!(parse(&header), Err(ProxyError::Checksum));
}

#[test]
fn every_beginning_of_a_header_is_incomplete_and_other_bytes_are_no_header() {
    let headers = [
        with_checksum(&[0xee, 0, 2, 1, 2]),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 49153 1883\r\n".to_vec(),
    ];
    for header in headers {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(Parsed::Incomplete), "{cut}");
        }
    }
    for other in [
        &b"\x10\x0c\x00\x04MQTT"[..],
        b"\x16\x03\x01",
        b"PROXX",
        b"\r\n\r\nX",
        b"P ",
    ] {
        assert_eq!(parse(other), Ok(Parsed::Absent));
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(kind in 0..3_u8, bytes in proptest::collection::vec(0_u8.., 0..300)) {
        let mut input = match kind {
            0 => Vec::new(),
            1 => b"PROXY ".to_vec(),
            _ => b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec(),
        };
        input.extend_from_slice(&bytes);
        if let Ok(Parsed::Header { length, .. }) = parse(&input) {
            proptest::prop_assert!(length <= input.len());
        }
    }
}
