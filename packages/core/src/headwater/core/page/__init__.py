"""What self-contained pages share: the frame, its style and script, numbers for people, charts as SVG."""
