//! The reactor's contract, over TCP, held by the driver on the simulated machine: the cases that io_uring and epoll run
//! in `reactor/tests/contract.rs`, each on several seeds.
//!
//! The faults are those that the kernel may show at any time and that change no outcome: sends that are short, segments
//! cut anywhere, windows that close, completions that come late, receives without a buffer. What a reset or a failed
//! accept does is the business of the cases themselves, and of the seeds of the simulator.
// The cases that need unix sockets and descriptors are compiled, and run elsewhere.
#![allow(dead_code)]

#[macro_use]
#[path = "../../reactor/tests/contract/list.rs"]
mod list;

#[path = "../../reactor/tests/contract/accepting.rs"]
mod accepting;
#[path = "../../reactor/tests/contract/connecting.rs"]
mod connecting;
#[path = "../../reactor/tests/contract/ending.rs"]
mod ending;
#[path = "../../reactor/tests/contract/harness.rs"]
mod harness;
#[path = "../../reactor/tests/contract/listeners.rs"]
mod listeners;
#[path = "../../reactor/tests/contract/pattern.rs"]
mod pattern;
#[path = "../../reactor/tests/contract/receiving.rs"]
mod receiving;
#[path = "../../reactor/tests/contract/sending.rs"]
mod sending;
#[path = "../../reactor/tests/contract/waiting.rs"]
mod waiting;

/// Threads, time and the other ends of connections: those of the machine.
mod world {
    pub use machine::{
        net::{TcpListener, TcpStream},
        thread,
        time::Instant,
    };

    use std::sync::Arc;
    use wake::Doorbell;

    /// Every end holds little.
    pub fn set_send_buffer_size(_listener: &TcpListener, _bytes: usize) {}

    pub fn reset_at_close(peer: &TcpStream) {
        peer.reset_at_close();
    }

    /// A turn that waits for nothing leaves the machine stuck, which ends the run.
    pub fn watch(_bell: Arc<Doorbell>, turn: impl FnOnce()) -> bool {
        turn();
        false
    }
}

/// Seeds of each case: the first without faults.
const SEEDS: u64 = 12;
/// Bytes that an end takes in: as much as the cases expect of loopback, and less than one of them sends.
const WINDOW_BYTES: usize = 512 * 1024;
/// Seconds of the machine's time that a case may take.
const SECONDS_MAX: u64 = 600;

/// Runs `case` as the main thread of a machine.
fn on_the_machine(case: fn()) {
    for seed in 0..SEEDS {
        let mut machine = machine::Machine::new(seed);
        let chance = |kind: u64, rate: u32| if seed >> kind & 1 == 1 { rate } else { 0 };
        machine.set_faults(machine::Faults {
            switch: if seed == 0 { 0 } else { 10_000 },
            net_cut: chance(0, 20_000),
            short_send: chance(1, 20_000),
            zero_window: chance(2, 500),
            no_buffers: chance(2, 6_000),
            late: chance(3, 6_000),
            ..machine::Faults::default()
        });
        machine.set_window(WINDOW_BYTES);
        let end = machine.run(SECONDS_MAX, case);
        assert_eq!(end, machine::End::Done, "seed {seed}");
    }
}

macro_rules! cases {
    ($driver:ty: $($cases:ident::$case:ident)*) => {
        $(
            #[test]
            fn $case() {
                crate::on_the_machine(crate::$cases::$case::<$driver>);
            }
        )*
    };
}

mod sim {
    cases_over_tcp! { cases! { reactor::sim::SimDriver: } }
}
