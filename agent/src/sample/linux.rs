//! The hot path on Linux: `/proc/stat`, `/proc/meminfo` and `/proc/net/dev`, kept open and read
//! again from the start. Ours because sysinfo's network reading opens dozens of files under `/sys`
//! every time and costs several times all the rest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{CpuReading, CpuTicks, InterfaceCounters, Reading, Sampler};

/// Interfaces that are never the machine's own wire, by name, where the kernel does not tell.
const VIRTUAL_PREFIXES: [&str; 9] = ["veth", "docker", "br-", "virbr", "tun", "tap", "wg", "dummy", "cni"];

/// Reads `/proc`.
#[derive(Debug)]
pub struct ProcSampler {
    stat: File,
    memory: File,
    network: File,
    buffer: Vec<u8>,
    /// Whether an interface counts, decided once when it appears.
    counted: BTreeMap<String, bool>,
}

impl ProcSampler {
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            stat: File::open("/proc/stat")?,
            memory: File::open("/proc/meminfo")?,
            network: File::open("/proc/net/dev")?,
            buffer: vec![0; 16 * 1_024],
            counted: BTreeMap::new(),
        })
    }

    fn interfaces(&mut self) -> Option<BTreeMap<String, InterfaceCounters>> {
        let all = parse_network(text(&self.network, Comes::ByAndBy, &mut self.buffer)?);
        let known = self.counted.len() == all.len() && all.keys().all(|name| self.counted.contains_key(name));
        if !known {
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            self.counted = counted(&names, Path::new("/sys/class/net"));
        }
        Some(all.into_iter().filter(|(name, _)| self.counted.get(name).copied().unwrap_or(false)).collect())
    }
}

impl Sampler for ProcSampler {
    fn read(&mut self) -> Reading {
        let cpu = text(&self.stat, Comes::Whole, &mut self.buffer).and_then(parse_stat);
        let memory = text(&self.memory, Comes::Whole, &mut self.buffer).and_then(parse_memory);
        Reading {
            cpu,
            memory_used_bytes: memory.map(|(used, _)| used),
            memory_total_bytes: memory.map(|(_, total)| total),
            interfaces: self.interfaces(),
        }
    }
}

/// How a file of `/proc` is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// At once where there is room for all of it: what is less than the room is the whole.
    Whole,
    /// Some entries at a time: the end is where nothing more comes.
    ByAndBy,
}

/// The whole of a small file; `None` when it cannot be read.
fn text<'a>(file: &File, comes: Comes, buffer: &'a mut Vec<u8>) -> Option<&'a str> {
    let mut length = 0;
    loop {
        if length == buffer.len() {
            buffer.resize(length * 2, 0);
        }
        let room = buffer.get_mut(length..)?;
        let size = room.len();
        let read = file.read_at(room, u64::try_from(length).ok()?).ok()?;
        length += read;
        if read == 0 || (comes == Comes::Whole && read < size) {
            return std::str::from_utf8(buffer.get(..length)?).ok();
        }
    }
}

/// `proc_stat(5)`: user nice system idle iowait irq softirq steal guest guest_nice; guest time is
/// in user time already.
fn parse_stat(stat: &str) -> Option<CpuReading> {
    let (mut total, mut cores, mut knows_steal) = (None, Vec::new(), false);
    for line in stat.lines().take_while(|line| line.starts_with("cpu")) {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?;
        let mut values = [0_u64; 8];
        let mut read = 0;
        for (slot, field) in values.iter_mut().zip(fields) {
            *slot = field.parse().ok()?;
            read += 1;
        }
        if read < 4 {
            return None;
        }
        let [user, nice, system, idle, iowait, irq, softirq, steal] = values;
        let ticks = CpuTicks { busy: user + nice + system + irq + softirq, idle: idle + iowait, steal };
        if name == "cpu" {
            total = Some(ticks);
            knows_steal = read == 8;
        } else {
            cores.push(ticks);
        }
    }
    Some(CpuReading::Ticks { total: total?, cores, knows_steal })
}

/// Used is what is not available to a new program: `MemTotal` − `MemAvailable`.
fn parse_memory(memory: &str) -> Option<(u64, u64)> {
    let kib = |name: &str| -> Option<u64> {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    let total = kib("MemTotal:")?.checked_mul(1_024)?;
    let available = kib("MemAvailable:")?.checked_mul(1_024)?;
    Some((total.checked_sub(available)?, total))
}

fn parse_network(network: &str) -> BTreeMap<String, InterfaceCounters> {
    network.lines().skip(2).filter_map(parse_interface).collect()
}

fn parse_interface(line: &str) -> Option<(String, InterfaceCounters)> {
    let (name, rest) = line.split_once(':')?;
    let values: Vec<u64> = rest.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let at = |index: usize| values.get(index).copied();
    let counters = InterfaceCounters {
        in_bytes: at(0)?,
        in_packets: at(1)?,
        out_bytes: at(8)?,
        out_packets: at(9)?,
        errors: at(2)?.checked_add(at(10)?)?,
    };
    Some((name.trim().to_owned(), counters))
}

/// Which interfaces are the machine's own wires: those with a device behind them. Bridges, bonds
/// and VLANs carry the same packets a second time. Where nothing has a device (a container), what
/// is neither loopback nor virtual plumbing.
fn counted(names: &[&str], sys: &Path) -> BTreeMap<String, bool> {
    let has = |name: &str, entry: &str| sys.join(name).join(entry).exists();
    let physical = names.iter().any(|name| has(name, "device"));
    let counts = |name: &str| {
        if name == "lo" {
            false
        } else if physical {
            has(name, "device")
        } else {
            let plumbing = has(name, "bridge") || has(name, "bonding") || has(name, "master");
            !plumbing && !name.contains('.') && !VIRTUAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        }
    };
    names.iter().map(|name| ((*name).to_owned(), counts(name))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn stat_is_read_with_and_without_steal() {
        let Some(CpuReading::Ticks { total, cores, knows_steal }) =
            parse_stat("cpu  10 1 5 100 4 2 3 7 9 0\ncpu0 10 1 5 100 4 2 3 7 9 0\nintr 5\n")
        else {
            panic!("reads");
        };
        assert_eq!(total, CpuTicks { busy: 21, idle: 104, steal: 7 });
        assert_eq!((cores.len(), knows_steal), (1, true));
        assert!(matches!(parse_stat("cpu 1 2 3 4\n"), Some(CpuReading::Ticks { knows_steal: false, .. })));
        assert_eq!(parse_stat("cpu 1 2 x\n"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn memory_is_total_less_available() {
        assert_eq!(parse_memory("MemTotal: 10 kB\nMemFree: 1 kB\nMemAvailable: 4 kB\n"), Some((6_144, 10_240)));
        assert_eq!(parse_memory("MemTotal: 10 kB\n"), None);
    }

    #[test]
    fn a_bridge_is_not_counted_twice() {
        let sys = tempfile::tempdir().expect("a directory");
        for path in ["eth0/device", "br0/bridge", "bond0/bonding", "veth1", "lo"] {
            fs::create_dir_all(sys.path().join(path)).expect("made");
        }
        let counted_now = counted(&["lo", "eth0", "br0", "bond0", "veth1"], sys.path());
        let names: Vec<_> = counted_now.iter().filter(|(_, counts)| **counts).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["eth0"]);
        let container = counted(&["lo", "ens5", "docker0", "br0", "eth0.100"], sys.path());
        assert!(container["ens5"] && !container["docker0"] && !container["br0"] && !container["eth0.100"]);
    }

    #[test]
    fn a_file_that_outgrew_the_buffer_is_read_to_its_end() {
        for path in ["/proc/stat", "/proc/meminfo"] {
            let file = File::open(path).expect("/proc");
            let whole = text(&file, Comes::Whole, &mut vec![0; 16 * 1_024]).expect("text").lines().count();
            let mut small = vec![0; 64];
            assert_eq!(text(&file, Comes::Whole, &mut small).expect("text").lines().count(), whole, "{path}");
            assert!(small.len() > 64, "it has grown");
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "x".repeat(300)).expect("written");
        for comes in [Comes::Whole, Comes::ByAndBy] {
            assert_eq!(text(file.as_file(), comes, &mut vec![0; 100]).map(str::len), Some(300), "{comes:?}");
        }
    }

    #[test]
    fn interfaces_are_read() {
        let text = "Inter-|   Receive\n face |bytes\n  eth0: 1 2 3 0 0 0 0 0 9 10 4 0 0 0 0 0\n odd\n";
        let all = parse_network(text);
        let eth0 = all["eth0"];
        assert_eq!((eth0.in_bytes, eth0.in_packets, eth0.out_bytes, eth0.out_packets, eth0.errors), (1, 2, 9, 10, 7));
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn this_host_can_be_read_and_agrees_with_sysinfo() {
        let mut sampler = ProcSampler::open().expect("/proc");
        let reading = sampler.read();
        assert!(reading.cpu.is_some() && reading.interfaces.is_some());
        let mut portable = crate::sample::SysinfoSampler::open().expect("sysinfo");
        let total = portable.read().memory_total_bytes.expect("memory");
        assert_eq!(reading.memory_total_bytes, Some(total));
    }
}
