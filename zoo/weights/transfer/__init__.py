"""Download one file over several connections, resume it, and hash it while it arrives."""
