"""The inside of `impasto.runtime.picture`: colour, profiles, metadata, decoding and encoding of pictures.

color.py      pure functions of arrays
icc.py        embedded profile -> sRGB
metadata.py   PictureInfo; EXIF and XMP made fit for the output
deep.py       16 bits a channel, where Pillow keeps 8
decode.py     file bytes -> arrays and PictureInfo
encode.py     arrays and PictureInfo -> file bytes
"""
