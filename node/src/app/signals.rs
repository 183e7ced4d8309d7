//! What ends a node from outside: SIGINT, SIGTERM, and the end of standard input where that was asked for.

use std::io;

use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};

/// Waits for the first of them; gives its name.
pub(super) async fn wait(exit_with_stdin: bool) -> io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
        () = end_of_stdin(), if exit_with_stdin => Ok("end of standard input"),
    }
}

async fn end_of_stdin() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while !matches!(stdin.read(&mut ignored).await, Ok(0) | Err(_)) {}
}
