//! The empty server with the system's allocator.

mod empty;

fn main() -> Result<(), empty::Failure> {
    empty::serve()
}
