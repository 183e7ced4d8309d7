//! The session against rustls' own buffered client, bytes only.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

use super::*;

fn pair(protocol: &'static SupportedProtocolVersion) -> (Session, ClientConnection) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let server = Server::from_parts(vec![certificate.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[protocol])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    (Session::new(&server).unwrap(), client)
}

/// Carries bytes until neither side has more; `step` bytes at a time to the server. Gives what the server read.
fn exchange(server: &mut Session, client: &mut ClientConnection, step: usize) -> (Vec<u8>, bool) {
    let (mut held, mut plain, mut closed) = (Vec::new(), Vec::new(), false);
    loop {
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        let mut out = Vec::new();
        for piece in sent.chunks(step) {
            held.extend_from_slice(piece);
            let progress = server.receive(&mut held, &mut plain, &mut out).unwrap();
            held.drain(..progress.consumed);
            closed |= progress.closed;
        }
        let idle = sent.is_empty() && out.is_empty();
        give(client, &out);
        if idle {
            assert!(held.is_empty(), "whole records are consumed");
            return (plain, closed);
        }
    }
}

fn give(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
    }
}

#[test]
fn both_versions_carry_bytes_both_ways_in_pieces_of_any_size() {
    for protocol in [&version::TLS12, &version::TLS13] {
        for step in [1, 7, 100_000] {
            let (mut server, mut client) = pair(protocol);
            exchange(&mut server, &mut client, step);
            assert!(server.is_established(), "{protocol:?}");

            let sent: Vec<u8> = (0..40_000_u32).map(|i| (i % 251) as u8).collect();
            client.writer().write_all(&sent).unwrap();
            let (got, closed) = exchange(&mut server, &mut client, step);
            assert_eq!(got, sent);
            assert!(!closed);

            let mut out = Vec::new();
            server.send(&sent, &mut out).unwrap();
            let mut back = vec![0; sent.len()];
            let (mut filled, mut rest) = (0, &out[..]);
            while filled < back.len() {
                let taken = rest.len().min(20_000);
                give(&mut client, &rest[..taken]);
                rest = &rest[taken..];
                filled += client.reader().read(&mut back[filled..]).unwrap();
            }
            assert_eq!(back, sent);
        }
    }
}

#[test]
fn the_peers_end_is_reported_and_ours_can_be_sent() {
    for protocol in [&version::TLS12, &version::TLS13] {
        let (mut server, mut client) = pair(protocol);
        exchange(&mut server, &mut client, 4_096);
        client.writer().write_all(b"last words").unwrap();
        client.send_close_notify();
        let (got, closed) = exchange(&mut server, &mut client, 4_096);
        assert_eq!((&got[..], closed), (&b"last words"[..], true));
        let mut out = Vec::new();
        server.send_end(&mut out);
        give(&mut client, &out);
        assert_eq!(client.reader().read(&mut [0; 8]).unwrap(), 0);
    }
}

#[test]
fn bytes_that_are_no_tls_are_refused_with_an_alert() {
    let (mut server, _) = pair(&version::TLS13);
    let mut out = Vec::new();
    let mut connect = *b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
    assert!(
        server
            .receive(&mut connect, &mut Vec::new(), &mut out)
            .is_err()
    );
    assert!(!server.is_established());
    assert!(server.send(b"x", &mut Vec::new()).is_err());
}
