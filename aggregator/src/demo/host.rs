//! What was seen of this host, which is measured for real.

use std::collections::VecDeque;

use crate::live::Arrived;

/// Samples kept for the sparkline.
const KEPT: usize = 240;

/// What was seen of this host.
#[derive(Debug, Default)]
pub struct Host {
    pub instance: String,
    pub cpu: VecDeque<f64>,
    pub memory_percent: Option<f64>,
    pub in_bytes: Option<f64>,
    pub out_bytes: Option<f64>,
    pub samples: u64,
    pub cpu_sum: f64,
}

impl Host {
    /// Takes samples in that were made durable just now.
    pub fn take(&mut self, arrived: &Arrived) {
        for stored in arrived.samples.iter() {
            let sample = &stored.sample;
            self.instance = stored.instance.to_string();
            self.samples += 1;
            if let Some(cpu) = sample.cpu_percent {
                self.cpu_sum += cpu;
                self.cpu.push_back(cpu);
                if self.cpu.len() > KEPT {
                    self.cpu.pop_front();
                }
            }
            #[allow(clippy::cast_precision_loss, reason = "bytes of memory")]
            if let (Some(used), Some(total)) = (sample.memory_used_bytes, sample.memory_total_bytes) {
                self.memory_percent = Some(100.0 * used as f64 / total.max(1) as f64);
            }
            self.in_bytes = sample.network.map(|network| network.in_bytes);
            self.out_bytes = sample.network.map(|network| network.out_bytes);
        }
    }
}
