//! What happened last, for people: kept only when a seed is replayed, so that runs stay fast.

use std::collections::VecDeque;

/// Lines kept.
const KEPT: usize = 400;

/// Characters of a line; payloads are long.
const LINE: usize = 500;

/// The last lines of a run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    is_on: bool,
    is_loud: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// `is_on`: lines are kept; `is_loud`: also printed as they come.
    pub(crate) fn new(is_on: bool, is_loud: bool) -> Self {
        Self {
            is_on: is_on || is_loud,
            is_loud,
            lines: VecDeque::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(crate) fn add(&mut self, now: u64, text: &str) {
        let cut = text.chars().take(LINE);
        let line = format!("{now:>7} {}", cut.collect::<String>());
        if self.is_loud {
            println!("{line}");
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// Notes a line, which is made only if somebody reads it.
macro_rules! note {
    ($world:expr, $($text:tt)*) => {
        if $world.trace.is_on() {
            let line = format!($($text)*);
            let now = $world.now;
            $world.trace.add(now, &line);
        }
    };
}
pub(crate) use note;
