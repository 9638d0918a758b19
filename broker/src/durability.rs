//! The one seam that moves a high watermark.
