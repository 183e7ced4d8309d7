//! What `strace` saw of a node: its syncs and its writes, with times.

use std::{path::PathBuf, time::Duration};

use super::{Process, Temporary, Tool, until};

/// A system call that has returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// What the first argument's file descriptor stands for.
    pub file: String,
    /// The bytes of the first text among the arguments, as far as they were printed.
    pub bytes: Vec<u8>,
    /// When it began, in seconds since 1970.
    pub start: f64,
    /// When it returned.
    pub end: f64,
}

/// A running `strace`.
#[derive(Debug)]
pub struct Trace {
    process: Process,
    output: PathBuf,
}

impl Trace {
    /// Attaches to a process and all its threads; nothing, said loudly, if the system does not allow that.
    pub async fn attach(tool: &Tool, folder: &Temporary, pid: u32) -> Option<Self> {
        let output = folder.path().join(format!("strace-{pid}"));
        let log = folder.path().join(format!("strace-{pid}.err"));
        let mut command = tool.command();
        command
            .args([
                "-f",
                "-ttt",
                "-T",
                "-y",
                "-s",
                "16",
                "-e",
                "trace=fdatasync,sendto,write,writev",
            ])
            .arg("-o")
            .arg(&output)
            .args(["-p", &pid.to_string()]);
        let process = Process::start(&mut command, &log);
        let mut trace = Self { process, output };
        let attached = until(
            "strace has attached or given up",
            Duration::from_secs(10),
            || {
                let running = trace.process.is_running();
                let attached = trace.process.output().contains("attached");
                async move {
                    if !running {
                        Some(false)
                    } else {
                        attached.then_some(true)
                    }
                }
            },
        )
        .await
        .0;
        if attached {
            return Some(trace);
        }
        eprintln!(
            "SKIPPED: strace cannot attach: {}",
            trace.process.output().trim()
        );
        None
    }

    /// Detaches; gives all calls that returned, in the order of their return.
    pub async fn end(mut self) -> Vec<Call> {
        self.process.signal(rustix::process::Signal::INT);
        self.process.ended(Duration::from_secs(10)).await;
        parse(&String::from_utf8_lossy(
            &std::fs::read(&self.output).unwrap_or_default(),
        ))
    }
}

fn parse(text: &str) -> Vec<Call> {
    let mut unfinished: Vec<(&str, Call)> = Vec::new();
    let mut all = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else {
            continue;
        };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        let Ok(time) = time.parse::<f64>() else {
            continue;
        };
        if rest.starts_with("<... ") {
            if let Some(at) = unfinished.iter().position(|(of, _)| *of == thread) {
                all.push(Call {
                    end: time,
                    ..unfinished.swap_remove(at).1
                });
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else {
            continue;
        };
        let file = arguments
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map_or("", |(file, _)| file);
        let call = Call {
            name: name.into(),
            file: file.into(),
            bytes: quoted(arguments),
            start: time,
            end: time,
        };
        if rest.ends_with("<unfinished ...>") {
            unfinished.push((thread, call));
            continue;
        }
        let took = rest
            .rsplit_once('<')
            .and_then(|(_, took)| took.strip_suffix('>')?.parse().ok());
        all.push(Call {
            end: time + took.unwrap_or(0.0),
            ..call
        });
    }
    all.sort_by(|one, other| one.end.total_cmp(&other.end));
    all
}

/// The first text in quotes, its C escapes undone.
fn quoted(arguments: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Some((_, text)) = arguments.split_once('"') else {
        return bytes;
    };
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => break,
            b'\\' => match rest.next() {
                Some(digit @ b'0'..=b'7') => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        let Some(digit) = rest.next_if(|next| (b'0'..=b'7').contains(next)) else {
                            break;
                        };
                        value = value * 8 + u32::from(digit - b'0');
                    }
                    bytes.push(value as u8);
                }
                Some(escape) => bytes.push(match escape {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'f' => 12,
                    b'v' => 11,
                    other => other,
                }),
                None => break,
            },
            plain => bytes.push(plain),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_whole_and_in_two_parts() {
        let calls = parse(
            "12 100.000001 fdatasync(9</d/n0/log/1.log> <unfinished ...>\n\
             13 100.000100 write(5<socket:[77]>, \"@\\2\\0\\1\", 4) = 4 <0.000050>\n\
             12 100.002000 <... fdatasync resumed>) = 0 <0.001999>\n\
             13 100.000200 write(5<socket:[77]>, \"@\\2\\0\\n\\\"a\"..., 40) = 40 <0.000001>\n",
        );
        assert_eq!(calls.len(), 3);
        assert_eq!(calls[0].bytes, [0x40, 2, 0, 1]);
        assert_eq!(calls[1].bytes, [0x40, 2, 0, b'\n', b'"', b'a']);
        let sync = &calls[2];
        assert_eq!(
            (sync.name.as_str(), sync.file.as_str()),
            ("fdatasync", "/d/n0/log/1.log")
        );
        assert!((sync.end - 100.002).abs() < 1e-9 && (sync.start - 100.000_001).abs() < 1e-9);
    }
}
