//! The machine in a line.

/// Processor, cores, memory, kernel.
pub fn describe() -> String {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor =
        field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kib =
        field(&read("/proc/meminfo"), "MemTotal").and_then(|kb| kb.strip_suffix(" kB")?.parse::<u64>().ok());
    let memory = kib.map_or(String::new(), |kib| format!(", {:.1} GB of memory", kib as f64 * 1024.0 / 1e9));
    let system = rustix::system::uname();
    let (name, release) = (system.sysname().to_string_lossy(), system.release().to_string_lossy());
    format!("{processor}, {cores} cores{memory}, {name} {release}")
}
