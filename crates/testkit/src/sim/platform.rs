//! The simulation's adapters.

use driftlock_domain::ledger_host::LedgerKind;
use std::cell::Cell;
use std::marker::PhantomData;

use bytes::Bytes;
use driftlock_gateway::LocalCells;
use driftlock_gateway::ports::{Entropy, HttpClient, Ledger, NoAnswer, Platform};
use http::{Request, Response};

use super::run::{Later, turn};
use super::upstream::Echo;
use crate::clock::VirtualClock;
use crate::conformance::Store;
use crate::stripe::StripeDouble;

/// A store with all ports that a gateway needs.
pub trait SimStore: Store + Ledger + Clone + Send + Sync + 'static {}
impl<S: Store + Ledger + Clone + Send + Sync + 'static> SimStore for S {}

/// See the module.
pub struct SimPlatform<S>(PhantomData<S>);

impl<S: SimStore> Platform for SimPlatform<S> {
    const LEDGER: LedgerKind = LedgerKind::Leases;
    type Directory = S;
    type Admission = LocalCells<S, VirtualClock>;
    type Usage = S;
    type Audit = S;
    type Inbox = S;
    type Reports = S;
    type Alerts = S;
    type Http = ToDouble;
    type Upstream = Echo;
    type Clock = VirtualClock;
    type Entropy = Seeded;
    type Background = Later;
}

/// Calls the double. A call waits once before its effect and once after, so that a crash can come
/// in between.
pub struct ToDouble(pub StripeDouble);

impl HttpClient for ToDouble {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        turn().await;
        let answer = self.0.answer(&request);
        turn().await;
        answer.ok_or_else(|| NoAnswer("the connection broke".to_owned()))
    }
}

/// Pseudo-random bytes that depend only on how many were taken before.
#[derive(Debug, Default)]
pub struct Seeded(Cell<u64>);

impl Entropy for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            // A linear congruential generator (Knuth's MMIX constants) is random enough for tests.
            let next = self.0.get().wrapping_mul(6_364_136_223_846_793_005);
            self.0.set(next.wrapping_add(1_442_695_040_888_963_407));
            *byte = self.0.get().to_be_bytes()[0];
        }
    }
}
