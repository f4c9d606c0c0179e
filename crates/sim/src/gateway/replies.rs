//! What becomes of the enclave's answers: to clients with consistency proofs, or back into the queue with more rows.

use super::{Gateway, Item, ROUNDS_MAX};
use crate::post::Tell;
use keyferry_wire::door::{Drop as Reason, Need, Out, OutBody, Sealed};

impl Gateway {
    pub(super) fn hand_out(&mut self, out: Vec<Out>) {
        for Out { ticket, body } in out {
            match body {
                OutBody::Opened(opened) => self.answer(ticket, Tell::Opened(opened)),
                OutBody::Reply(sealed) => self.reply(ticket, sealed),
                OutBody::Need(need) => self.resume(ticket, Some(need)),
                OutBody::Busy | OutBody::Later => self.resume(ticket, None),
                OutBody::Dropped(reason) => self.answer(ticket, Tell::Dropped(reason)),
            }
        }
    }

    fn answer(&mut self, ticket: u64, tell: Tell) {
        if let Some(waiter) = self.waiting.remove(&ticket) {
            self.tell(waiter.exchange, waiter.device, tell);
        }
    }

    fn reply(&mut self, ticket: u64, sealed: Sealed) {
        let Sealed { mut reply, size } = sealed;
        let Some(waiter) = self.waiting.get(&ticket) else { return };
        let shard = waiter.need.as_ref().map(|need| need.shard);
        if let (Some(size), Some(seen), Some(shard)) = (size, waiter.seen, shard)
            && let Some(desk) = &self.desk
            && seen < size
        {
            reply.consistency = desk.consistency(&self.store, shard, seen, size).unwrap_or_default();
        }
        self.answer(ticket, Tell::Reply(reply));
    }

    /// Hands a request in again, with the rows of before and those that are asked for now.
    fn resume(&mut self, ticket: u64, asked: Option<Need>) {
        let Some(waiter) = self.waiting.get_mut(&ticket) else { return };
        waiter.rounds += u8::from(asked.is_some());
        let next = match (asked, &waiter.need) {
            (Some(asked), Some(before)) if asked.account == before.account => Some(joined(before, asked)),
            (Some(asked), _) => Some(asked),
            (None, before) => before.clone(),
        };
        match next.filter(|_| waiter.rounds <= ROUNDS_MAX) {
            Some(next) => self.ready.push_back(Item::Resume(ticket, next)),
            None => self.answer(ticket, Tell::Dropped(Reason::Full)),
        }
    }
}

fn joined(before: &Need, mut asked: Need) -> Need {
    let devices: Vec<_> = before.devices.iter().filter(|id| !asked.devices.contains(id)).copied().collect();
    let passkeys: Vec<_> =
        before.passkeys.iter().filter(|id| !asked.passkeys.contains(id)).copied().collect();
    asked.devices.splice(0..0, devices);
    asked.passkeys.splice(0..0, passkeys);
    let blobs = before.large_blobs.iter().filter(|id| !asked.large_blobs.contains(id));
    asked.large_blobs = blobs.copied().chain(asked.large_blobs.iter().copied()).collect();
    asked
}
