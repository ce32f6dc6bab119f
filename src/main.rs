//! Layer 8: the program. Parsing, running and exit statuses are `cli`'s.

fn main() -> std::process::ExitCode {
    kamba_vault::cli::main()
}
