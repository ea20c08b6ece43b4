"""What the rest needs of asyncio, threads, time, files and text."""
