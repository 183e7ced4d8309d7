//! Two ends of a link over a stream that cuts, repeats and resumes.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::{
    codec::QoS,
    ids::{Incarnation, Index, Position, ResourceId, ShardId, SpaceId},
    limits::{FRAME_BYTES, LINK_WINDOW_BYTES, LINK_WINDOW_FRAMES},
};

const A: Incarnation = Incarnation(Position(1 << 10));
const B: Incarnation = Incarnation(Position(2 << 10));

fn batch(number: u64, size: usize) -> Batch {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(size.max(8), 0);
    let mut batch = Batch::default();
    batch.push(&Message {
        space: SpaceId::Broker(ResourceId::from_random([7; 17])),
        topic: "t",
        payload: &payload,
        qos: QoS::AtLeastOnce,
        token: Some(Token::new(ShardId(1), number)),
    });
    batch
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch
        .iter()
        .map(|m| u64::from_le_bytes(m.unwrap().payload[..8].try_into().unwrap()))
        .collect()
}

fn tokens(range: std::ops::Range<u64>) -> Vec<Token> {
    range.map(|n| Token::new(ShardId(0), n)).collect()
}

#[test]
fn what_is_queued_is_joined_into_one_frame_and_comes_out_once() {
    let (mut a, mut b) = (Link::new(A, B), Link::new(B, A));
    a.handle_connected(1).unwrap();
    for n in 0..3 {
        a.push(batch(n, 10), &tokens(n..n + 2));
    }
    let frame = a.poll_frame().unwrap();
    assert_eq!(
        (frame.sequence, frame.batch.len(), frame.taken.len()),
        (1, 3, 6)
    );
    assert_eq!((a.poll_frame(), a.queued_bytes()), (None, 0));
    let Ok(Received::New(got, taken)) = b.handle_frame(frame.clone()) else {
        panic!("not new")
    };
    assert_eq!((numbers(&got), taken.len()), (vec![0, 1, 2], 6));
    assert_eq!(b.handle_frame(frame), Ok(Received::Duplicate));
    assert!(b.needs_ack());
    let ack = b.poll_frame().unwrap();
    assert_eq!((ack.sequence, ack.ack, b.needs_ack()), (0, 1, false));
    assert_eq!(a.handle_frame(ack), Ok(Received::Nothing));
    assert_eq!(a.window_bytes(), 0);
}

#[test]
fn the_window_is_bounded_in_frames_and_bytes() {
    let mut a = Link::new(A, B);
    for n in 0..2 * LINK_WINDOW_FRAMES as u64 {
        a.push(batch(n, FRAME_BYTES / 2 + 1), &[]);
    }
    assert!(std::iter::from_fn(|| a.poll_frame()).count() <= LINK_WINDOW_FRAMES);
    assert!(a.window_bytes() <= LINK_WINDOW_BYTES && a.is_full());
    let mut a = Link::new(A, B);
    let mut sent = 0;
    for n in 0..LINK_WINDOW_FRAMES as u64 + 10 {
        a.push(batch(n, 16 * 1024), &[]);
        sent += a.poll_frame().iter().count();
    }
    assert_eq!(sent, LINK_WINDOW_FRAMES);
}

#[test]
fn a_large_batch_is_split_and_a_larger_message_goes_alone() {
    let mut a = Link::new(A, B);
    let mut large = batch(0, FRAME_BYTES * 2);
    for n in 1..10 {
        large.append(&batch(n, FRAME_BYTES / 4));
    }
    a.push(large, &[]);
    let frames: Vec<_> = std::iter::from_fn(|| a.poll_frame()).collect();
    assert_eq!(
        frames
            .iter()
            .flat_map(|f| numbers(&f.batch))
            .collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(frames[0].batch.len(), 1);
    assert!(
        frames[1..]
            .iter()
            .all(|f| f.batch.as_bytes().len() <= FRAME_BYTES)
    );
}

#[test]
fn frames_of_or_to_another_incarnation_are_refused() {
    let (mut a, mut b) = (Link::new(A, B), Link::new(Incarnation(Position(9)), A));
    a.push(batch(0, 8), &[]);
    let frame = a.poll_frame().unwrap();
    assert_eq!(
        b.handle_frame(frame),
        Err(LinkError::OtherIncarnation { from: A, to: B })
    );
}

#[test]
fn a_gap_an_ack_of_the_unsent_and_a_resume_of_the_forgotten_are_errors() {
    let (mut a, mut b) = (Link::new(A, B), Link::new(B, A));
    a.push(batch(0, 8), &[]);
    let first = a.poll_frame().unwrap();
    a.push(batch(1, 8), &[]);
    let second = a.poll_frame().unwrap();
    assert_eq!(
        b.handle_frame(second),
        Err(LinkError::Gap {
            expected: 1,
            found: 2
        })
    );
    let ahead = Frame {
        from: B,
        to: A,
        sequence: 0,
        ack: 3,
        ..first
    };
    assert_eq!(
        a.handle_frame(ahead),
        Err(LinkError::AckAhead { ack: 3, sent: 2 })
    );
    assert!(a.handle_connected(4).is_err());
    a.handle_connected(2).unwrap();
    assert_eq!(
        a.handle_connected(1),
        Err(LinkError::CannotResume {
            expects: 1,
            first: 2,
            last: 3
        })
    );
    assert_eq!(a.poll_frame().unwrap().sequence, 2);
}

#[test]
fn an_ack_rides_on_content_or_goes_alone_after_two_frames_or_a_while() {
    let (mut a, mut b) = (Link::new(A, B), Link::new(B, A));
    let send = |a: &mut Link, b: &mut Link, n: u64| {
        a.push(batch(n, 8), &[]);
        b.handle_frame(a.poll_frame().unwrap()).unwrap();
    };
    send(&mut a, &mut b, 0);
    assert_eq!((b.poll_frame(), b.needs_ack()), (None, true));
    b.push(Batch::default(), &tokens(0..1));
    assert_eq!(b.poll_frame().unwrap().ack, 1);
    assert!(!b.needs_ack());
    send(&mut a, &mut b, 1);
    assert_eq!(b.poll_frame(), None);
    send(&mut a, &mut b, 2);
    let ack = b.poll_frame().unwrap();
    assert_eq!((ack.sequence, ack.ack), (0, 3));
    send(&mut a, &mut b, 3);
    b.force_ack();
    assert!(b.poll_frame().is_some() && b.poll_frame().is_none());
}

#[test]
fn small_content_behind_four_unacknowledged_frames_is_joined_until_an_ack() {
    let (mut a, mut b) = (Link::new(A, B), Link::new(B, A));
    let mut frames = Vec::new();
    for n in 0..10 {
        a.push(batch(n, 8), &[]);
        frames.extend(a.poll_frame());
    }
    assert_eq!(frames.len(), 4);
    for frame in frames {
        b.handle_frame(frame).unwrap();
    }
    a.handle_frame(b.poll_frame().unwrap()).unwrap();
    assert_eq!(numbers(&a.poll_frame().unwrap().batch), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_report_goes_out_at_once_on_an_idle_link_and_never_falls() {
    let (mut a, mut b) = (Link::new(A, B), Link::new(B, A));
    assert_eq!(a.poll_frame(), None);
    a.set_report(Index(7));
    let frame = a.poll_frame().unwrap();
    assert_eq!((frame.sequence, frame.report), (0, Index(7)));
    b.handle_frame(Frame {
        report: Index(9),
        ..frame.clone()
    })
    .unwrap();
    b.handle_frame(frame).unwrap();
    assert_eq!(b.peer_report(), Index(9));
    a.set_report(Index(7));
    assert_eq!(a.poll_frame(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Push { from_a: bool, size: usize },
    Send { from_a: bool },
    Deliver { to_a: bool },
    Repeat { to_a: bool },
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), prop_oneof![8..64_usize, Just(FRAME_BYTES), Just(FRAME_BYTES * 2)])
            .prop_map(|(from_a, size)| Step::Push { from_a, size }),
        3 => any::<bool>().prop_map(|from_a| Step::Send { from_a }),
        3 => any::<bool>().prop_map(|to_a| Step::Deliver { to_a }),
        1 => any::<bool>().prop_map(|to_a| Step::Repeat { to_a }),
        1 => Just(Step::Cut),
    ]
}

/// One end with what it pushed and got, and the bytes on their way to it.
struct End {
    link: Link,
    pushed: u64,
    got: Vec<u64>,
    taken: Vec<u64>,
    inbound: VecDeque<Vec<u8>>,
}

impl End {
    fn new(me: Incarnation, peer: Incarnation) -> Self {
        let link = Link::new(me, peer);
        Self {
            link,
            pushed: 0,
            got: Vec::new(),
            taken: Vec::new(),
            inbound: VecDeque::new(),
        }
    }

    fn push(&mut self, size: usize) {
        self.link.push(
            batch(self.pushed, size),
            &tokens(self.pushed..self.pushed + 1),
        );
        self.pushed += 1;
    }

    fn send(&mut self, to: &mut Self) {
        let frame = self.link.poll_frame().or_else(|| {
            self.link.force_ack();
            self.link.poll_frame()
        });
        if let Some(frame) = frame {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            to.inbound.push_back(bytes);
        }
        let lone = FRAME_BYTES * 2 + 64;
        assert!(self.link.window_bytes() <= LINK_WINDOW_BYTES + lone);
    }

    fn receive(&mut self, bytes: &[u8]) {
        let frame = Frame::decode(bytes).unwrap();
        if let Received::New(batch, taken) = self.link.handle_frame(frame).unwrap() {
            self.got.extend(numbers(&batch));
            self.taken.extend(taken.iter().map(|t| t.rest()));
        }
    }
}

fn cut(a: &mut End, b: &mut End) {
    a.inbound.clear();
    b.inbound.clear();
    a.link.handle_connected(b.link.expects()).unwrap();
    b.link.handle_connected(a.link.expects()).unwrap();
}

proptest! {
    #[test]
    fn all_is_delivered_exactly_once_and_in_order(steps in proptest::collection::vec(step(), 1..300)) {
        let (mut a, mut b) = (End::new(A, B), End::new(B, A));
        for step in steps {
            match step {
                Step::Push { from_a: true, size } => a.push(size),
                Step::Push { from_a: false, size } => b.push(size),
                Step::Send { from_a: true } => a.send(&mut b),
                Step::Send { from_a: false } => b.send(&mut a),
                Step::Deliver { to_a } | Step::Repeat { to_a } => {
                    let end = if to_a { &mut a } else { &mut b };
                    if let Some(bytes) = end.inbound.pop_front() {
                        end.receive(&bytes);
                        if matches!(step, Step::Repeat { .. }) {
                            end.receive(&bytes);
                        }
                    }
                }
                Step::Cut => cut(&mut a, &mut b),
            }
        }
        cut(&mut a, &mut b);
        for _ in 0..2_000 {
            a.send(&mut b);
            b.send(&mut a);
            while let Some(bytes) = a.inbound.pop_front() { a.receive(&bytes); }
            while let Some(bytes) = b.inbound.pop_front() { b.receive(&bytes); }
        }
        for (from, to) in [(&a, &b), (&b, &a)] {
            let all: Vec<u64> = (0..from.pushed).collect();
            prop_assert_eq!(&to.got, &all);
            prop_assert_eq!(&to.taken, &all);
            prop_assert_eq!(from.link.window_bytes() + from.link.queued_bytes(), 0);
            prop_assert!(!from.link.needs_ack());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = Frame::decode(&bytes) {
            let mut again = Vec::new();
            frame.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}
