//! Tars as PostgreSQL writes them, and as it does not.
