//! Which proofs there are.

/// How a proof's test and the gateway that it starts are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// As the ordinary tests: for what is right or wrong.
    Debug,
    /// Optimized: for times and memory.
    Release,
}

/// A measurement that `cargo xtask prove` runs.
pub(crate) struct Proof {
    /// What it is called: the argument of `cargo xtask prove`, and the name of its record.
    pub(crate) name: &'static str,
    /// What holds if it passes, in one sentence.
    pub(crate) claim: &'static str,
    /// The integration test; of those with the same name in several packages, `filter` chooses.
    pub(crate) test: &'static str,
    /// How it is built.
    pub(crate) build: Build,
    /// Names of tests in it, or parts of them; all of them where it is empty.
    pub(crate) filter: &'static [&'static str],
    /// Environment variables that make the test as large as a proof has to be.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// Programs that it needs beside those of `cargo xtask test`, and the Debian packages with
    /// them.
    pub(crate) programs: &'static [(&'static str, &'static str)],
    /// The files and folders whose changes make the record old.
    pub(crate) guards: &'static [&'static str],
}

/// All proofs.
pub(crate) const PROOFS: &[Proof] = &[
    Proof {
        name: "crashes",
        claim: "Through 20 kill -9 in each durability mode under 64 clients, every acknowledged unit \
                is in the ledger exactly once, and the cap is used up exactly.",
        test: "crash",
        build: Build::Release,
        filter: &[],
        settings: &[("DRIFTLOCK_CRASHES", "20")],
        programs: &[],
        guards: &[
            "crates/sqlite",
            "crates/sqlite-core",
            "crates/gateway",
            "crates/server/src/host",
        ],
    },
    Proof {
        name: "fleet-times",
        claim: "On a fleet with PostgreSQL, a revoked key is refused by the other nodes within a \
                second, a crashed node holds units for 2.5 s at most, and an outage makes no request \
                wait longer than its published bound.",
        test: "fleet",
        build: Build::Release,
        filter: &["revocation", "rights", "held", "outage"],
        settings: &[("DRIFTLOCK_TIMES", "strict")],
        programs: &[],
        guards: &[
            "crates/postgres",
            "crates/postgres-core",
            "migrations/postgres",
            "crates/gateway",
        ],
    },
    Proof {
        name: "slow-clients",
        claim: "2,000 clients that send and read as slowly as they may do not delay ordinary clients \
                by more than a second.",
        test: "slow_clients",
        build: Build::Release,
        filter: &[],
        settings: &[("DRIFTLOCK_TIMES", "strict"), ("DRIFTLOCK_SLOW_CLIENTS", "2000")],
        programs: &[],
        guards: &["crates/server/src/host", "crates/gateway/src/proxy"],
    },
    Proof {
        name: "backend-answers",
        claim: "Among 50,000 answers to four customers by a backend that sends two framings, bodies \
                behind HEAD, 204 and 304, unrequested answers and truncated ones, no byte of one \
                answer is in another, and usage is exactly what was delivered.",
        test: "backend_answers",
        build: Build::Debug,
        filter: &[],
        settings: &[("DRIFTLOCK_BACKEND_ANSWERS", "50000")],
        programs: &[],
        guards: &[
            "crates/domain/src/response",
            "crates/gateway/src/proxy",
            "crates/server/src/host/upstream",
        ],
    },
    Proof {
        name: "stripe-lives",
        claim: "2,000 random histories of customers at Stripe, delivered in five orders each, with \
                duplicates, losses and restarts, end in Stripe's own state.",
        test: "stripe_lives",
        build: Build::Debug,
        filter: &[],
        settings: &[("DRIFTLOCK_LIVES", "2000")],
        programs: &[],
        guards: &[
            "crates/domain/src/stripe",
            "crates/gateway/src/stripe",
            "crates/testkit/src/sim",
        ],
    },
    Proof {
        name: "clients",
        claim: "Java's HttpClient and curl --http2 call with their defaults, and Python's http.client \
                reads every denial of an upload.",
        test: "clients",
        build: Build::Debug,
        filter: &[],
        settings: &[],
        programs: &[
            ("java", "default-jre-headless"),
            ("curl", "curl"),
            ("python3", "python3-minimal"),
        ],
        guards: &["crates/server/src/host", "crates/domain/src/websocket.rs"],
    },
    Proof {
        name: "denials",
        claim: "64 clients that send head and body apart, at their quota, read all of 20,000 denials, \
                and no connection is reset.",
        test: "denials",
        build: Build::Debug,
        filter: &[],
        settings: &[("DRIFTLOCK_CLIENTS", "64"), ("DRIFTLOCK_DENIALS", "20000")],
        programs: &[],
        guards: &["crates/server/src/host", "crates/gateway/src/proxy"],
    },
    Proof {
        name: "memory",
        claim: "With 2,000 half-sent deliveries, bodies under Idempotency-Keys or heads, the process \
                takes no more memory than the budget above what it had, and gives it back.",
        test: "memory",
        build: Build::Release,
        filter: &["halves_of_requests"],
        settings: &[("DRIFTLOCK_HALVES", "2000"), ("DRIFTLOCK_BUDGET_BYTES", "268435456")],
        programs: &[],
        guards: &[
            "crates/server/src/host",
            "crates/gateway/src/buffers.rs",
            "crates/gateway/src/proxy",
            "crates/gateway/src/webhook.rs",
        ],
    },
    Proof {
        name: "may-call",
        claim: "2,000 random histories of customers with one to three subscriptions, invoices in every \
                end, contracts and deletions, delivered in any order with duplicates, are decided as a \
                second reading of the table \"Who may call\" says, over SQLite and over memory.",
        test: "may_call",
        build: Build::Debug,
        filter: &["whatever_the_store"],
        settings: &[("DRIFTLOCK_HISTORIES", "2000")],
        programs: &[],
        guards: &[
            "crates/domain/src/entitlement.rs",
            "crates/domain/src/entitlement",
            "crates/domain/src/purchases.rs",
            "crates/domain/src/stripe",
            "crates/gateway/src/stripe",
            "crates/testkit/src/may_call",
        ],
    },
];
