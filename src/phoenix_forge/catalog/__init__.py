"""Tables of what Forge knows: model families, quant types, bases and their sources. Data, no behaviour."""
