//! Log lines that a test did not expect.

use serde_json::Value;

/// Warnings and errors of JSON logs, without those that contain one of `allowed`. Lines that are no JSON count as
/// well if they speak of a panic.
pub fn unexpected_lines(logs: &str, allowed: &[&str]) -> Vec<String> {
    logs.lines()
        .filter(|line| match serde_json::from_str::<Value>(line) {
            Ok(value) => matches!(value["level"].as_str(), Some("WARN" | "ERROR")),
            Err(_) => line.contains("panicked"),
        })
        .filter(|line| !allowed.iter().any(|part| line.contains(part)))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_errors_and_panics_are_found() {
        let logs = "{\"level\":\"INFO\",\"message\":\"a\"}\n{\"level\":\"WARN\",\"message\":\"b\"}\n\
                    {\"level\":\"ERROR\",\"message\":\"c\"}\nthread 'x' panicked at y\nnode n1 ended\n";
        assert_eq!(unexpected_lines(logs, &["\"c\""]).len(), 2);
    }
}
