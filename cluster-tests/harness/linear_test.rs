//! The checker against histories that are known, and against a search over all orders.

use super::linear::{Operation, Register, check};

fn write(value: u64, start: u64, end: u64) -> Operation {
    Operation {
        what: Register::Write(value),
        start,
        end: Some(end),
    }
}

fn read(value: u64, start: u64, end: u64) -> Operation {
    Operation {
        what: Register::Read(Some(value)),
        start,
        end: Some(end),
    }
}

#[test]
fn a_history_in_order_passes() {
    check(&[
        write(1, 10, 20),
        read(1, 30, 40),
        write(2, 50, 60),
        read(2, 70, 80),
    ])
    .unwrap();
}

#[test]
fn a_stale_read_after_an_acknowledged_write_is_found() {
    let error = check(&[write(1, 10, 20), write(2, 30, 40), read(1, 50, 60)]).unwrap_err();
    assert!(
        error.contains("Some(1)") && error.contains("Some(2)"),
        "{error}"
    );
}

#[test]
fn a_read_of_nothing_after_a_write_is_found() {
    let nothing = Operation {
        what: Register::Read(None),
        start: 30,
        end: Some(40),
    };
    check(&[write(1, 10, 20), nothing]).unwrap_err();
}

#[test]
fn two_readers_that_disagree_on_the_order_are_found() {
    let writes = [write(1, 10, 100), write(2, 10, 100)];
    let reads = [read(1, 110, 120), read(2, 130, 140)];
    check(&[writes, reads].concat()).unwrap_err();
    check(&[writes, [read(1, 20, 30), read(2, 130, 140)]].concat()).unwrap();
}

#[test]
fn a_write_without_an_answer_may_take_effect_late_or_never() {
    let unknown = Operation {
        what: Register::Write(2),
        start: 30,
        end: None,
    };
    check(&[write(1, 10, 20), unknown, read(1, 50, 60)]).unwrap();
    check(&[write(1, 10, 20), unknown, read(1, 50, 60), read(2, 70, 80)]).unwrap();
    check(&[write(1, 10, 20), unknown, read(2, 50, 60), read(1, 70, 80)]).unwrap_err();
}

#[test]
fn a_value_from_nowhere_or_from_the_future_is_found() {
    check(&[read(7, 10, 20)]).unwrap_err();
    check(&[read(1, 10, 20), write(1, 30, 40)]).unwrap_err();
}

/// Tries every order; only for few operations.
fn search(history: &[Operation], done: &mut Vec<bool>, value: Option<u64>) -> bool {
    if history
        .iter()
        .zip(done.iter())
        .all(|(operation, done)| *done || operation.end.is_none())
    {
        return true;
    }
    for at in 0..history.len() {
        let operation = history[at];
        let after_another = history
            .iter()
            .zip(done.iter())
            .any(|(other, done)| !done && other.end.is_some_and(|end| end < operation.start));
        if done[at] || after_another {
            continue;
        }
        let next = match operation.what {
            Register::Write(written) => Some(written),
            Register::Read(read) if read == value => value,
            Register::Read(_) => continue,
        };
        done[at] = true;
        let found = search(history, done, next);
        done[at] = false;
        if found {
            return true;
        }
    }
    false
}

#[test]
fn it_agrees_with_a_search_over_all_orders() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut passed, mut refused) = (0, 0);
    for round in 0..20_000 {
        // Odd starts and even ends: at equal times the two would order differently.
        let (mut written, mut history) = (0, Vec::new());
        for _ in 0..2 + random(6) {
            let start = 1 + 2 * random(12);
            let end = start + 1 + 2 * random(8);
            let what = if random(2) == 0 {
                written += 1;
                Register::Write(written)
            } else {
                Register::Read(Some(1 + random(3)).filter(|value| *value <= written))
            };
            let unknown = matches!(what, Register::Write(_)) && random(5) == 0;
            history.push(Operation {
                what,
                start,
                end: (!unknown).then_some(end),
            });
        }
        let expected = search(&history, &mut vec![false; history.len()], None);
        assert_eq!(
            check(&history).is_ok(),
            expected,
            "round {round}: {history:?}"
        );
        if expected { passed += 1 } else { refused += 1 }
    }
    assert!(
        passed > 1_000 && refused > 1_000,
        "{passed} passed, {refused} refused"
    );
}
