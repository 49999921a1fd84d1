MOST = 1 << 8
