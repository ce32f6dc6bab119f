//! Real servers that archive and recover.
