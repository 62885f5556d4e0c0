//! How many connections the process can hold: it asks for as many descriptors as it may have, and
//! keeps back what its way to the backends, its store and its log need. A client beyond waits in the
//! kernel's queue, instead of taking the descriptor that somebody else's request needs.

use driftlock_domain::config;
use rustix::process::{Resource, getrlimit, setrlimit};

/// For the store, the log, listeners, event loops.
const KEPT_BACK: u64 = 128;
/// Fewer than so many for clients are worth a line in the log.
const FEW: u64 = 1_024;
/// However few there are, so many connections of clients a core takes.
const CLIENTS_MIN: u64 = 16;

/// Raises the process's limit as far as it may; what it is then. `None` is no limit.
pub(super) fn raise() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays as low as it is");
            limit = getrlimit(Resource::Nofile);
        }
    }
    limit.current
}

/// Connections of clients, per core.
pub(super) fn clients_max(
    limit: Option<u64>,
    cores: usize,
    backends: usize,
    config: &config::Backend,
) -> usize {
    let Some(limit) = limit else { return usize::MAX };
    let (cores, backends) = (cores.max(1) as u64, backends as u64);
    let free = limit.saturating_sub(KEPT_BACK);
    // A request under way has a connection at either end: no more than half is for backends.
    let wanted = (config.connections_max as u64).saturating_mul(backends).saturating_mul(cores);
    let clients = free - wanted.min(free / 2);
    if clients < FEW {
        tracing::warn!(limit, clients, "few open files are allowed; `ulimit -n` tells and raises");
    }
    usize::try_from((clients / cores).max(CLIENTS_MIN)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_and_the_store_keep_theirs() {
        let config = config::Backend { connections_max: 100, ..config::Backend::default() };
        let clients = |limit, cores, backends| clients_max(Some(limit), cores, backends, &config);
        assert_eq!(clients(10_128, 2, 3), 4_700, "600 for backends");
        assert_eq!(clients(1_128, 4, 9), 125, "half of 1,000 for backends");
        assert_eq!(clients(64, 2, 1), 16, "too few to share out");
        assert_eq!(clients_max(None, 2, 1, &config), usize::MAX);
    }

    #[test]
    fn the_limit_is_raised() {
        let raised = raise();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
        assert_eq!(raised, getrlimit(Resource::Nofile).current);
    }
}
