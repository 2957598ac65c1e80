module loft.sh/pause

go 1.26.0
