"""From the integer graph to hardware layers."""
