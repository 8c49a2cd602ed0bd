"""Download one file over several connections, resumable, hashed while it arrives."""
