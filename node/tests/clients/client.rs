//! A blocking client on a real socket, plain or TLS.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

pub(crate) use mainstay_core::codec::Packet;
use mainstay_core::codec::{
    Connect, PacketId, PublishHead, QoS, decode, encode_connect, encode_puback, encode_publish,
    encode_subscribe, frame,
};
use rustls::{ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::node::{Node, PASSWORD};

/// Longer than anything takes unless it hangs.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

pub(crate) struct Client {
    pub(crate) wire: Wire,
    received: Vec<u8>,
}

/// How a client comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Plain,
    Tls(&'static SupportedProtocolVersion),
}

pub(crate) const WAYS: [Way; 3] = [
    Way::Plain,
    Way::Tls(&rustls::version::TLS12),
    Way::Tls(&rustls::version::TLS13),
];

impl Client {
    pub(crate) fn open(node: &Node, way: Way) -> Self {
        match way {
            Way::Plain => Self::plain(tcp(node.plain)),
            Way::Tls(version) => Self::tls(node, tcp(node.tls), version),
        }
    }

    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self {
            wire: Wire::Plain(stream),
            received: Vec::new(),
        }
    }

    pub(crate) fn tls(
        node: &Node,
        stream: TcpStream,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(node.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let wire = Wire::Tls(Box::new(StreamOwned::new(session, stream)));
        Self {
            wire,
            received: Vec::new(),
        }
    }

    /// Logged in as a broker of the node.
    pub(crate) fn connect(node: &Node, way: Way, broker: usize, client_id: &str) -> Self {
        let mut client = Self::open(node, way);
        let username = node.brokers[broker];
        client.send(&connect_packet(username.as_str(), PASSWORD, client_id));
        assert_eq!(client.connack(), 0);
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(bytes),
            Wire::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match &self.wire {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => &stream.sock,
        }
    }

    /// Reads once; 0 at the end.
    fn read_some(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; 64 * 1024];
        let bytes = match &mut self.wire {
            Wire::Plain(stream) => stream.read(&mut buffer)?,
            Wire::Tls(stream) => stream.read(&mut buffer)?,
        };
        self.received.extend_from_slice(&buffer[..bytes]);
        Ok(bytes)
    }

    /// The next packet; `None` when the connection has ended.
    pub(crate) fn next<T>(&mut self, take: impl FnOnce(Packet<'_>) -> T) -> Option<T> {
        loop {
            if let Some(frame) = frame(&self.received, 16 * 1024 * 1024).unwrap() {
                let length = frame.len;
                let taken = take(decode(frame.first_byte, frame.body).unwrap());
                self.received.drain(..length);
                return Some(taken);
            }
            match self.read_some() {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("nothing came"),
                Err(_) => return None,
            }
        }
    }

    pub(crate) fn connack(&mut self) -> u8 {
        self.next(|packet| match packet {
            Packet::Connack(connack) => connack.code as u8,
            other => panic!("{other:?}"),
        })
        .expect("a CONNACK")
    }

    /// Whether the connection ended without another byte.
    pub(crate) fn ended(&mut self) -> bool {
        self.received.is_empty() && self.next(|packet| panic!("{packet:?}")).is_none()
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        let mut packet = Vec::new();
        encode_subscribe(&mut packet, PacketId::MIN, &[(filter, qos)]).unwrap();
        self.send(&packet);
        self.next(|packet| assert!(matches!(packet, Packet::Suback(_)), "{packet:?}"))
            .unwrap();
    }

    /// The next message's payload, acknowledged.
    pub(crate) fn message(&mut self) -> Option<Vec<u8>> {
        let (payload, id) = self.next(|packet| match packet {
            Packet::Publish(publish) => (publish.payload.to_vec(), publish.packet_id),
            other => panic!("{other:?}"),
        })?;
        if let Some(id) = id {
            let mut answer = Vec::new();
            encode_puback(&mut answer, id);
            self.send(&answer);
        }
        Some(payload)
    }

    pub(crate) fn ping(&mut self) {
        self.send(&[0xc0, 0]);
        self.next(|packet| assert!(matches!(packet, Packet::Pingresp), "{packet:?}"))
            .unwrap();
    }
}

pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn connect_packet(username: &str, password: &str, client_id: &str) -> Vec<u8> {
    let mut packet = Vec::new();
    let connect = Connect {
        clean_session: true,
        keep_alive: 60,
        client_id,
        will: None,
        username: Some(username),
        password: Some(password.as_bytes()),
    };
    encode_connect(&mut packet, &connect).unwrap();
    packet
}

pub(crate) fn publish_packet(topic: &str, payload: &[u8], id: Option<u16>) -> Vec<u8> {
    let mut packet = Vec::new();
    let head = PublishHead {
        dup: false,
        qos: if id.is_some() {
            QoS::AtLeastOnce
        } else {
            QoS::AtMostOnce
        },
        retain: false,
        topic: &[topic],
        packet_id: id.and_then(PacketId::new),
    };
    encode_publish(&mut packet, &head, payload).unwrap();
    packet
}
