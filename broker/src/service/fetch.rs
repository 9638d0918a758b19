//! Fetch: whole batches up to the high watermark, or a wait for them.
