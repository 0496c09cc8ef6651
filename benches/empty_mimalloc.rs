//! The empty server with the allocator that gatepost ships with.

mod empty;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), empty::Failure> {
    empty::serve()
}
