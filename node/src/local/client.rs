//! The command line's side of the local socket.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use mainstay_proto::internal::v1::{
    SeedRequest, SeedResponse, StatusRequest, StatusResponse, local_client::LocalClient,
};
use tokio::{net::UnixStream, time::timeout};
use tonic::transport::{Channel, Endpoint};

/// A node that does not answer within this is passed over for another of the folder.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Seeding hashes passwords and commits.
const SEED_WITHIN: Duration = Duration::from_secs(20);

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder has no socket, nor nodes that have one.
    #[error("{} is neither the data folder of a running node nor a dev folder with one", path.display())]
    NoNode {
        /// The folder.
        path: PathBuf,
    },
    /// The socket's path is longer than a Unix socket's can be.
    #[error("{}: the path of a Unix socket must be shorter than 108 bytes; use a shorter data folder", path.display())]
    PathTooLong {
        /// The socket.
        path: PathBuf,
    },
    /// Nobody listens at the socket.
    #[error("connecting to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// No answer in time.
    #[error("no answer from {} within {} s", path.display(), within.as_secs())]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// The time given.
        within: Duration,
    },
    /// The node refused.
    #[error("{}", status.message())]
    Refused {
        /// Its answer.
        status: tonic::Status,
    },
}

/// The socket of a data folder.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("local.sock")
}

/// Asks the node of a data folder how the cluster is.
///
/// # Errors
/// If it does not answer within a second.
pub async fn status(data: &Path) -> Result<StatusResponse, Error> {
    let path = socket_path(data);
    within(ANSWER_WITHIN, &path, async {
        let mut client = LocalClient::new(connect(&path).await?);
        Ok(client
            .status(StatusRequest {})
            .await
            .map_err(refused)?
            .into_inner())
    })
    .await
}

/// As [`status`]; of a `dev` folder any node is asked that answers within a second.
///
/// # Errors
/// If none answers.
pub async fn status_any(folder: &Path) -> Result<StatusResponse, Error> {
    let mut failed = Error::NoNode {
        path: folder.to_owned(),
    };
    for data in data_folders(folder) {
        match status(&data).await {
            Ok(status) => return Ok(status),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Creates what a seed file names, through the node of a data folder.
///
/// # Errors
/// If the node does not answer, or refuses the file.
pub async fn seed(data: &Path, toml: &str) -> Result<SeedResponse, Error> {
    let path = socket_path(data);
    within(SEED_WITHIN, &path, async {
        let mut client = LocalClient::new(connect(&path).await?);
        let request = SeedRequest {
            toml: toml.to_owned(),
        };
        Ok(client.seed(request).await.map_err(refused)?.into_inner())
    })
    .await
}

/// As [`seed`], through any node of a `dev` folder that answers.
///
/// # Errors
/// If none answers, or the file is refused.
pub async fn seed_any(folder: &Path, toml: &str) -> Result<SeedResponse, Error> {
    let mut failed = Error::NoNode {
        path: folder.to_owned(),
    };
    for data in data_folders(folder) {
        match status(&data).await {
            Ok(_) => return seed(&data, toml).await,
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The folder itself if it has a socket, else the nodes below it.
fn data_folders(folder: &Path) -> Vec<PathBuf> {
    if socket_path(folder).exists() {
        return vec![folder.to_owned()];
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut nodes: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| socket_path(path).exists())
        .collect();
    nodes.sort();
    nodes
}

async fn connect(path: &Path) -> Result<Channel, Error> {
    if path.as_os_str().len() >= 108 {
        return Err(Error::PathTooLong {
            path: path.to_owned(),
        });
    }
    let socket = path.to_owned();
    // The URI is not used: the connector knows the socket.
    Endpoint::from_static("http://local")
        .connect_with_connector(tower_service_fn(move || {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|source| Error::Connect {
            path: path.to_owned(),
            source,
        })
}

fn tower_service_fn<F, R>(
    mut connect: F,
) -> impl tower::Service<
    tonic::transport::Uri,
    Response = TokioIo<UnixStream>,
    Error = std::io::Error,
    Future: Send,
> + Send
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send + 'static,
{
    tower::service_fn(move |_uri| connect())
}

async fn within<T>(
    span: Duration,
    path: &Path,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(span, answer).await.unwrap_or_else(|_| {
        Err(Error::Timeout {
            path: path.to_owned(),
            within: span,
        })
    })
}

fn refused(status: tonic::Status) -> Error {
    Error::Refused { status }
}
