//! Identity and checks between two nodes over loopback TLS.

use mainstay_proto::internal::v1::ProbeRequest;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    Channels, ClusterId, Endpoint, Error, Home, Purpose, Server, is_refused,
    testing::{Ca, Door, Folder},
};

struct Served {
    address: String,
    stop: CancellationToken,
}

async fn serve(ca: &Ca, folder: &Folder, name: &str, home: Home) -> Served {
    let credentials = ca.credentials(folder.path(), name);
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, credentials, home).await.unwrap();
    let address = server.address().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(server.serve(Door(None), stop.clone().cancelled_owned()));
    Served { address, stop }
}

/// Asks `served` under the name that it should have; the caller is whoever `ca` says it is.
async fn ask(channels: &Channels, name: &str, served: &Served) -> Result<(), tonic::Status> {
    let peer = Endpoint {
        name: name.into(),
        address: served.address.clone(),
    };
    let mut client = channels.client(&peer, Purpose::Raft).unwrap();
    client.probe(ProbeRequest::default()).await.map(|_| ())
}

fn channels(ca: &Ca, folder: &Folder, name: &str, home: Home) -> Channels {
    let credentials = ca.credentials(folder.path(), name);
    Channels::new(credentials, home, tokio::runtime::Handle::current()).unwrap()
}

#[tokio::test]
async fn nodes_of_one_ca_talk_and_a_server_with_another_name_is_refused() {
    let (folder, ca) = (Folder::new("names"), Ca::new());
    let served = serve(&ca, &folder, "node-1", Home::default()).await;
    let channels = channels(&ca, &folder, "node-0", Home::default());
    ask(&channels, "node-1", &served).await.unwrap();
    let refused = ask(&channels, "node-2", &served).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    served.stop.cancel();
}

#[tokio::test]
async fn a_caller_that_claims_another_name_than_its_certificate_is_refused() {
    let (folder, ca) = (Folder::new("claims"), Ca::new());
    let served = serve(&ca, &folder, "node-1", Home::default()).await;
    let honest = ca.issue(folder.path(), "node-0");
    assert!(matches!(
        honest.load("node-2"),
        Err(Error::WrongName { .. })
    ));
    let lying = Channels::pretending(honest.load("node-0").unwrap(), "node-2");
    let refused = ask(&lying, "node-1", &served).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let (folder, other, ca) = (Folder::new("ca"), Folder::new("other-ca"), Ca::new());
    let served = serve(&ca, &folder, "node-1", Home::default()).await;
    let stranger = channels(&Ca::new(), &other, "node-0", Home::default());
    assert!(ask(&stranger, "node-1", &served).await.is_err());
}

#[tokio::test]
async fn a_call_of_another_cluster_is_refused() {
    let (folder, ca) = (Folder::new("clusters"), Ca::new());
    let (ours, theirs) = (Home::default(), Home::default());
    assert!(ours.join(ClusterId::from_random(1)));
    assert!(theirs.join(ClusterId::from_random(2)));
    assert!(
        !ours.join(ClusterId::from_random(3)),
        "a node never changes its cluster"
    );
    let served = serve(&ca, &folder, "node-1", ours.clone()).await;
    let refused = ask(&channels(&ca, &folder, "node-0", theirs), "node-1", &served).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    ask(&channels(&ca, &folder, "node-2", ours), "node-1", &served)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_refused_connection_is_told_from_other_failures() {
    let (folder, ca) = (Folder::new("refused"), Ca::new());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let nobody = Served {
        address,
        stop: CancellationToken::new(),
    };
    let channels = channels(&ca, &folder, "node-0", Home::default());
    assert!(is_refused(
        &ask(&channels, "node-1", &nobody).await.unwrap_err()
    ));
    let served = serve(&ca, &folder, "node-1", Home::default()).await;
    assert!(!is_refused(
        &ask(&channels, "node-2", &served).await.unwrap_err()
    ));
}
