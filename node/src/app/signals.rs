//! What ends a node from outside: SIGINT, SIGTERM, and the end of standard input where that was asked for.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
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

/// A thread of its own waits: one of the runtime's would hold its shutdown up.
async fn end_of_stdin() {
    let (sender, ended) = oneshot::channel();
    let waiting = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            // Its content means nothing; an error is as good as the end.
            let _read = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _gone = sender.send(());
        });
    match waiting {
        Ok(_) => {
            let _ended = ended.await;
        }
        Err(_) => std::future::pending().await,
    }
}
