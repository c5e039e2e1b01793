module peers/common

go 1.26
