"""Videos: frames in, painted frames out. See :func:`impasto.runtime.video.clip.stylize_clip`."""
