//! Threads, cores and limits of queries.

use super::{CoreList, Placement};
use crate::limits;
use query::Bounds;

/// Threads, cores and limits of queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Threads that run queries; 0 disables queries.
    pub threads: usize,
    /// Cores of these threads.
    pub cores: Vec<usize>,
    /// True if a reactor or the writer runs on one of these cores, so that queries run there at low priority.
    pub yields: bool,
    /// Timeout of a query from its arrival to the beginning of its response, in milliseconds.
    pub timeout_ms: u64,
    /// Limits on one query.
    pub bounds: Bounds,
}

/// The default cores of queries: the server's cores that run neither a reactor nor the writer; if there are none, the
/// writer's, which mostly sleeps; if a reactor runs there too, all of them.
fn free_cores(server: &[usize], placement: &Placement) -> Vec<usize> {
    let without = |busy: &dyn Fn(usize) -> bool| server.iter().copied().filter(|&core| !busy(core)).collect::<Vec<_>>();
    let runs_reactor = |core| placement.reactor_cores.contains(&core);
    let beside_all = without(&|core| runs_reactor(core) || core == placement.writer_core);
    let beside_reactors = without(&runs_reactor);
    [beside_all, beside_reactors, server.to_vec()].into_iter().find(|cores| !cores.is_empty()).unwrap_or_default()
}

impl Query {
    /// Resolves threads and cores.
    ///
    /// # Errors
    /// A core that this process may not use, or too many threads.
    pub fn resolve(
        threads: Option<usize>,
        cores: &CoreList,
        timeout_ms: u64,
        bounds: Bounds,
        server_cores: &CoreList,
        placement: &Placement,
        allowed: &[usize],
    ) -> Result<Self, String> {
        let server = match server_cores {
            CoreList::Auto => allowed,
            CoreList::Cores(cores) => cores,
        };
        let cores = match cores {
            CoreList::Auto => free_cores(server, placement),
            CoreList::Cores(cores) => match cores.iter().find(|core| !allowed.contains(core)) {
                Some(core) => {
                    return Err(format!(
                        "--query-cores: core {core} is not one of the cores this process may use: {allowed:?}"
                    ));
                }
                None => cores.clone(),
            },
        };
        let default = (server.len() / limits::QUERY_CORES_PER_THREAD).max(limits::QUERY_THREADS_MIN);
        let threads = threads.unwrap_or(default);
        if threads > limits::QUERY_THREADS_CAP {
            return Err(format!("--query-threads must be at most {}, not {threads}", limits::QUERY_THREADS_CAP));
        }
        let yields = cores.iter().any(|core| placement.reactor_cores.contains(core) || *core == placement.writer_core);
        Ok(Self { threads, cores, yields, timeout_ms, bounds })
    }
}

#[cfg(test)]
mod tests {
    use super::super::WriterCore;
    use super::*;

    #[test]
    fn queries_run_where_nothing_serves_if_there_is_such_a_core() {
        let auto = CoreList::Auto;
        for (reactors, allowed, named, expected) in [
            (None, vec![0, 1], &auto, (vec![1], true)),
            (Some(1), vec![0, 1, 2, 3], &auto, (vec![1, 2], false)),
            (None, vec![5], &auto, (vec![5], true)),
            (Some(3), vec![0, 1], &auto, (vec![0, 1], true)),
            (None, vec![0, 1], &CoreList::Cores(vec![0]), (vec![0], true)),
            (Some(1), vec![0, 1, 2], &CoreList::Cores(vec![1]), (vec![1], false)),
        ] {
            let placement = Placement::resolve(&auto, reactors, WriterCore::Auto, &allowed).unwrap();
            let query = Query::resolve(None, named, 1, Bounds::default(), &auto, &placement, &allowed).unwrap();
            assert_eq!((query.cores, query.yields), expected, "{reactors:?} {allowed:?} {named:?}");
            assert_eq!(query.threads, 2);
        }
    }

    #[test]
    fn they_stay_on_the_servers_cores_and_grow_with_them() {
        let allowed: Vec<usize> = (0..32).collect();
        let server = CoreList::Cores((0..16).collect());
        let placement = Placement::resolve(&server, Some(8), WriterCore::Auto, &allowed).unwrap();
        let resolve = |threads, cores: &CoreList| {
            Query::resolve(threads, cores, 1, Bounds::default(), &server, &placement, &allowed)
        };
        let query = resolve(None, &CoreList::Auto).unwrap();
        assert_eq!((query.cores, query.threads), ((8..15).collect(), 4));
        let elsewhere = CoreList::Cores(vec![31]);
        assert_eq!(resolve(Some(0), &elsewhere).unwrap().cores, [31]);
        for (threads, cores) in [(Some(257), CoreList::Auto), (None, CoreList::Cores(vec![32]))] {
            let refusal = resolve(threads, &cores).unwrap_err();
            assert!(refusal.starts_with("--query-"), "{refusal}");
        }
    }
}
