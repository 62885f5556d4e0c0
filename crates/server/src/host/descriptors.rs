//! Calculates how many client connections the process can have. It raises the limit of file
//! descriptors as far as allowed, and reserves some for backends, store and log. Further clients
//! wait in the kernel's queue and do not take a descriptor that another request needs.

use driftlock_domain::config;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors for the store, the log, listeners and event loops.
const KEPT_BACK: u64 = 128;
/// Fewer than so many for clients are logged.
const FEW: u64 = 1_024;
/// A core accepts at least so many client connections.
const CLIENTS_MIN: u64 = 16;

/// Raises the process's limit as far as allowed, and returns it. `None` is no limit.
pub(super) fn raise() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "could not raise the limit of open files");
            limit = getrlimit(Resource::Nofile);
        }
    }
    limit.current
}

/// Client connections per core.
pub(super) fn clients_max(
    limit: Option<u64>,
    cores: usize,
    backends: usize,
    config: &config::Backend,
) -> usize {
    let Some(limit) = limit else { return usize::MAX };
    let (cores, backends) = (cores.max(1) as u64, backends as u64);
    let free = limit.saturating_sub(KEPT_BACK);
    // A request uses one connection to its client and one to a backend: backends get at most half.
    let wanted = (config.connections_max as u64).saturating_mul(backends).saturating_mul(cores);
    let clients = free - wanted.min(free / 2);
    if clients < FEW {
        tracing::warn!(
            limit,
            clients,
            "the limit of open files is low; raise it with `ulimit -n` or LimitNOFILE"
        );
    }
    usize::try_from((clients / cores).max(CLIENTS_MIN)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_for_backends_and_the_store_are_reserved() {
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
