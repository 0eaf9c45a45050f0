//! One small network over all groups: trained here, written as standard ONNX, served by tract.
//!
//! - [`contract`]: what a network is shown and what it answers; [`manifest`]: the same, as the file beside it says.
//! - [`load`]: histories made up for the cold start. [`dataset`]: windows of histories, some of them held out.
//! - [`lstm`]: the network and its gradients. [`train`]: Adam, early stopping, checkpoints.
//! - [`onnx`]: writes a trained network; [`finish`]: with its manifest. [`check`] and [`shapes`]: what a file may contain, and how large it becomes.
//! - [`served`]: loads a file that meets the contract, whoever made it. [`model`]: it takes part in the pool.
//!
//! No async and no clock; files are touched only by [`manifest::read`] and [`manifest::write`]. The crate stands apart from `forecast` because
//! tract is dear to build.

mod activation;
pub mod check;
pub mod contract;
pub mod dataset;
pub mod finish;
#[cfg(test)]
mod hostile;
pub mod load;
pub mod lstm;
pub mod manifest;
pub mod model;
pub mod onnx;
pub mod random;
pub mod served;
pub mod shapes;
pub mod train;

pub use contract::Contract;
pub use manifest::Manifest;
pub use model::Network;
