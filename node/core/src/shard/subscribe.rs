//! SUBSCRIBE and UNSUBSCRIBE: from filters to the shard's table, through control's barrier.
//!
//! Control counts each filter of each request, so every one that was asked for is given back exactly once: when the
//! subscription ends, is replaced, or ends before its barrier.

use crate::{
    access,
    codec::{self, Kind, PacketId, QoS, SubackCode, Subscribe, Unsubscribe},
    message::{Request, Ticket},
    reason::Close,
    session::{Ask, Cursor, Route, Subscribing, Subscription},
    shard::{
        Shard,
        connection::{Hold, Ticketed},
        input::Flow,
        locals::Target,
    },
    stored::View,
    time::Moment,
    topic::{self, TopicFilter},
};

/// SUBSCRIBEs of one client that may wait for their barrier; a client with so many is not read. Each holds its
/// packet's filters, so together with the packet's bound this bounds their memory.
const SUBSCRIBES_IN_FLIGHT: usize = 16;

impl Shard {
    /// Handles a SUBSCRIBE, section 3.8.
    pub(super) fn subscribe(&mut self, now: Moment, slot: u32, packet: &Subscribe<'_>) -> Flow {
        let Some(connection) = self.connections.get(slot) else {
            return Flow::Stop;
        };
        if connection.subscribing.len() >= SUBSCRIBES_IN_FLIGHT {
            self.hold(now, slot, Hold::Subscribe);
            return Flow::Stop;
        }
        let (mut codes, mut asks) = (Vec::with_capacity(packet.count()), Vec::new());
        for (at, (text, qos)) in packet.filters().enumerate() {
            let asked = match TopicFilter::new(text) {
                Ok(filter) => filter,
                Err(topic::Error::TooLong { .. }) => {
                    codes.push(SubackCode::Failure);
                    continue;
                }
                // [MQTT-4.7.1-2], [MQTT-4.7.1-3]
                Err(_) => return Flow::Close(Close::ProtocolError),
            };
            let qos = qos.min(QoS::AtLeastOnce);
            match self.grant(slot, &asks, asked, qos, at) {
                Some(ask) => {
                    codes.push(SubackCode::Granted(qos));
                    asks.push(ask);
                }
                None => codes.push(SubackCode::Failure),
            }
        }
        self.ask(now, slot, packet.packet_id, codes, asks);
        Flow::Done
    }

    /// What a filter may read, if that is anything and the session has room for it.
    fn grant(
        &mut self,
        slot: u32,
        asks: &[Ask],
        asked: TopicFilter,
        qos: QoS,
        at: usize,
    ) -> Option<Ask> {
        let connection = self.connections.get(slot)?;
        let Ok(granted) = access::subscribe(&connection.key.principal, &asked) else {
            self.counters.denied_subscribe += 1;
            return None;
        };
        let subscribing = connection
            .subscribing
            .iter()
            .map(|waiting| waiting.asks.len());
        let waiting = subscribing.sum::<usize>() + asks.len();
        let replaces = connection
            .subscriptions
            .iter()
            .any(|present| present.asked == asked);
        let present = if replaces {
            0
        } else {
            connection.subscriptions.len()
        };
        if waiting + present >= self.limits.max_subscriptions {
            return None;
        }
        let access::Granted { canonical, form } = granted;
        Some(Ask {
            asked,
            form,
            qos,
            canonical,
            at,
            ended: false,
        })
    }

    /// Asks control for the filters; answers at once where there are none.
    fn ask(
        &mut self,
        now: Moment,
        slot: u32,
        packet_id: PacketId,
        codes: Vec<SubackCode>,
        asks: Vec<Ask>,
    ) {
        let filters: Vec<TopicFilter> = asks
            .iter()
            .flat_map(|ask| ask.canonical.iter().cloned())
            .collect();
        let of = self.waiter(slot);
        let waits = !filters.is_empty();
        let ticket = if waits {
            self.tickets.insert(Ticketed::Subscribe(of))
        } else {
            0
        };
        let subscribing = Subscribing {
            ticket,
            packet_id,
            codes,
            asks,
        };
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if waits {
            let space = connection.key.principal.space;
            connection.subscribing.push(subscribing);
            self.request(Request::Subscribe {
                ticket: Ticket(ticket),
                space,
                filters,
            });
        } else {
            self.install(now, slot, subscribing, Vec::new());
        }
    }

    /// The barrier of a SUBSCRIBE: its subscriptions are live, its SUBACK is due, its stored values follow.
    pub(super) fn subscribed(&mut self, now: Moment, ticket: Ticket, views: Vec<View>) {
        let Some(Ticketed::Subscribe(of)) = self.tickets.remove(ticket.0) else {
            return;
        };
        let Some(connection) = self.connections.of_mut(of.slot, of.generation) else {
            return;
        };
        let at = connection
            .subscribing
            .iter()
            .position(|waiting| waiting.ticket == ticket.0);
        let Some(at) = at else { return };
        let subscribing = connection.subscribing.remove(at);
        if connection.subscribing.is_empty() {
            connection.subscribing = Vec::new();
        }
        self.install(now, of.slot, subscribing, views);
        self.resume(now, of.slot, Hold::Subscribe);
        self.finish_drain(now, of.slot);
    }

    /// A SUBSCRIBE that cannot be made closes its connection, which gives its filters back.
    pub(super) fn subscribe_failed(&mut self, now: Moment, ticket: Ticket) {
        let Some(Ticketed::Subscribe(of)) = self.tickets.remove(ticket.0) else {
            return;
        };
        if self.connections.of_mut(of.slot, of.generation).is_some() {
            self.close(now, of.slot, Close::NoQuorum);
        }
    }

    fn install(&mut self, now: Moment, slot: u32, subscribing: Subscribing, views: Vec<View>) {
        let Subscribing {
            packet_id,
            mut codes,
            asks,
            ..
        } = subscribing;
        let mut views = views.into_iter();
        let mut cursors = Vec::new();
        let mut given_back = Vec::new();
        for ask in asks {
            let own: Vec<View> = views.by_ref().take(ask.canonical.len()).collect();
            if ask.ended {
                continue;
            }
            let (form, qos, at) = (ask.form, ask.qos, ask.at);
            match self.install_one(slot, ask, &mut given_back) {
                Some(subscription) => cursors.extend(own.into_iter().map(|view| Cursor {
                    subscription,
                    view,
                    after: None,
                    qos,
                    form,
                })),
                None => codes[at] = SubackCode::Failure,
            }
        }
        self.give_back(slot, given_back);
        self.answer(now, slot, Kind::Suback, |buffer| {
            // There are as many codes as filters in a packet that was read.
            let _ = codec::encode_suback(buffer, packet_id, &codes);
        });
        if cursors.is_empty() {
            return;
        }
        if let Some(connection) = self.connections.get_mut(slot) {
            for cursor in cursors {
                connection.outbound.send_values(cursor);
            }
        }
        self.pump(now, slot);
    }

    /// Enters a subscription into the table in place of one of the same filter [MQTT-3.8.4-3]; its number, or none
    /// if the table is full. `given_back` gets the filters that are no longer needed.
    fn install_one(
        &mut self,
        slot: u32,
        ask: Ask,
        given_back: &mut Vec<TopicFilter>,
    ) -> Option<u32> {
        let connection = self.connections.get_mut(slot)?;
        let target = Target {
            slot,
            qos: ask.qos,
            form: ask.form,
        };
        let mut routes = Vec::with_capacity(ask.canonical.len());
        for filter in &ask.canonical {
            match self.locals.insert(connection.space, filter, target) {
                Ok(handle) => routes.push(Route {
                    filter: filter.clone(),
                    handle,
                }),
                Err(_) => {
                    for route in routes {
                        self.locals.remove(connection.space, route.handle);
                    }
                    given_back.extend(ask.canonical);
                    return None;
                }
            }
        }
        let number = connection.next_number;
        connection.next_number = number.wrapping_add(1);
        let installed = Subscription {
            asked: ask.asked,
            number,
            routes,
        };
        let at = connection
            .subscriptions
            .iter()
            .position(|old| old.asked == installed.asked);
        match at {
            Some(at) => {
                let old = std::mem::replace(&mut connection.subscriptions[at], installed);
                connection.outbound.stop_values(old.number);
                for route in old.routes {
                    self.locals.remove(connection.space, route.handle);
                    given_back.push(route.filter);
                }
            }
            None => {
                // Most sessions have one subscription; doubling would reserve four.
                connection
                    .subscriptions
                    .reserve_exact(connection.subscriptions.len().max(1));
                connection.subscriptions.push(installed);
                self.counters.subscriptions += 1;
            }
        }
        Some(number)
    }

    /// Handles an UNSUBSCRIBE, section 3.10: it is answered at once, also where nothing matched [MQTT-3.10.4-5].
    pub(super) fn unsubscribe(&mut self, now: Moment, slot: u32, packet: &Unsubscribe<'_>) -> Flow {
        // [MQTT-4.7.1-2], [MQTT-4.7.1-3]; one that is too long was never granted.
        let malformed = packet.filters().any(|text| {
            TopicFilter::new(text)
                .is_err_and(|error| !matches!(error, topic::Error::TooLong { .. }))
        });
        if malformed {
            return Flow::Close(Close::ProtocolError);
        }
        let mut given_back = Vec::new();
        for text in packet.filters() {
            self.unsubscribe_one(slot, text, &mut given_back);
        }
        self.give_back(slot, given_back);
        let id = packet.packet_id;
        self.answer(now, slot, Kind::Unsuback, |buffer| {
            codec::encode_unsuback(buffer, id)
        });
        Flow::Done
    }

    fn unsubscribe_one(&mut self, slot: u32, text: &str, given_back: &mut Vec<TopicFilter>) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let asks = connection
            .subscribing
            .iter_mut()
            .flat_map(|waiting| &mut waiting.asks);
        for ask in asks.filter(|ask| !ask.ended && ask.asked.as_str() == text) {
            ask.ended = true;
            given_back.extend(ask.canonical.iter().cloned());
        }
        let at = connection
            .subscriptions
            .iter()
            .position(|old| old.asked.as_str() == text);
        let Some(at) = at else { return };
        let old = connection.subscriptions.swap_remove(at);
        connection.outbound.stop_values(old.number);
        self.counters.subscriptions -= 1;
        for route in old.routes {
            self.locals.remove(connection.space, route.handle);
            given_back.push(route.filter);
        }
    }

    /// Ends all subscriptions of a connection, also those that wait for their barrier.
    pub(super) fn unsubscribe_all(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let mut given_back = Vec::new();
        let space = connection.space;
        let subscriptions = std::mem::take(&mut connection.subscriptions);
        self.counters.subscriptions -= subscriptions.len() as u64;
        for route in subscriptions
            .into_iter()
            .flat_map(|subscription| subscription.routes)
        {
            self.locals.remove(space, route.handle);
            given_back.push(route.filter);
        }
        for waiting in std::mem::take(&mut connection.subscribing) {
            self.tickets.remove(waiting.ticket);
            let live = waiting.asks.into_iter().filter(|ask| !ask.ended);
            given_back.extend(live.flat_map(|ask| ask.canonical));
        }
        self.give_back(slot, given_back);
    }

    fn give_back(&mut self, slot: u32, filters: Vec<TopicFilter>) {
        if filters.is_empty() {
            return;
        }
        if let Some(connection) = self.connections.get(slot) {
            let space = connection.key.principal.space;
            self.request(Request::Unsubscribe { space, filters });
        }
    }
}
