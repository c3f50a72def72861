//! How fast the library is, beside its peers and beside what one would write without it. `README.md` says how to run
//! each part and what its rows mean.

mod deliveries;
mod load;
mod machine;
mod memory;
mod ours;
mod payload;
mod serve;
mod server;
mod steps;
mod straightforward;
mod verify_call;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<usize>().ok());
    match args.first().map(String::as_str) {
        Some("serve") => serve::run(quick)?,
        Some("verify-call") => verify_call::run(quick),
        Some("memory") => memory::run(quick),
        Some("server") => server::run(number(1).unwrap_or(0), number(2).unwrap_or(1_000_000))?,
        Some("solo") => {
            let name = args.get(1).map(String::as_str).unwrap_or_default();
            serve::solo(name, number(2).unwrap_or(1024), number(3).unwrap_or(1_000_000))?;
        }
        Some("step") => {
            let step = args.get(1).map(String::as_str).unwrap_or_default();
            steps::run(step, number(2).unwrap_or(1024), number(3).unwrap_or(1000));
        }
        _ => {
            eprintln!("peers serve | verify-call | memory [--quick]");
            eprintln!("peers solo CONTENDER BYTES REQUESTS, for a profiler");
            eprintln!("peers step NAME BYTES TIMES, where NAME is one of {:?}", steps::STEPS);
            std::process::exit(2)
        }
    }
    Ok(())
}
