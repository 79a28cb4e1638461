//! What is counted. Nothing is looked up by label on the packet path: shards count in their
//! own [`stats::ShardStats`], rooms in [`rooms::RoomCounts`], sessions in
//! [`sessions::SessionBook`], and whoever exports them adds up.

pub mod decisions;
pub mod distributions;
pub mod number;
pub mod reason;
pub mod retention;
pub mod rooms;
pub mod sessions;
pub mod stats;
pub mod turn;
