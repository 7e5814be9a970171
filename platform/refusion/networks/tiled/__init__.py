"""Parts of the forward pass strip by strip: what is computed of a tile, and the maps of the whole picture."""
