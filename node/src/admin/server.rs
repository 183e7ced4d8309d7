//! Serves the probes and the metrics.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::admin::State;

/// Renders the metrics.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Why the admin door cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("listening at admin address {address}")]
pub struct Error {
    /// The address and port.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Binds all addresses, then returns a future that serves them until it is dropped.
///
/// # Errors
/// Names the address that cannot be bound.
pub async fn serve(
    addresses: &[SocketAddr],
    state: State,
    render: Render,
) -> Result<impl Future<Output = ()> + use<>, Error> {
    let router = router(state, render);
    let mut servers = tokio::task::JoinSet::new();
    let mut bound = Vec::new();
    for address in addresses.iter().copied() {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error { address, source })?;
        bound.push(listener);
    }
    Ok(async move {
        for listener in bound {
            let router = router.clone();
            servers.spawn(async move { axum::serve(listener, router).await });
        }
        while servers.join_next().await.is_some() {}
    })
}

fn router(state: State, render: Render) -> Router {
    let (ready, started) = (state.clone(), state);
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move { answer(ready.is_ready(), "not ready\n") }),
        )
        .route(
            "/startupz",
            get(move || async move { answer(started.is_started(), "starting\n") }),
        )
        .route(
            "/metrics",
            get(move || async move {
                (
                    [(
                        header::CONTENT_TYPE,
                        "text/plain; version=0.0.4; charset=utf-8",
                    )],
                    render(),
                )
            }),
        )
}

fn answer(yes: bool, otherwise: &'static str) -> impl IntoResponse {
    if yes {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise)
    }
}
