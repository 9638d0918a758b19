//! Claims about records as they were fetched: good ones, damaged ones, and those that are kept.
