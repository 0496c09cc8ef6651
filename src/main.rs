//! argv -> subcommand -> exit code, and nothing else.

use std::process::ExitCode;

/// Gives memory back to the system after a reload; the system's own allocator keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gatepost::cli::run()
}
