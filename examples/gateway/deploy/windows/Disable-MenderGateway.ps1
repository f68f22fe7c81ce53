#Requires -Version 5.1
#Requires -RunAsAdministrator
<#
.SYNOPSIS
  Undoes what Enable-MenderGateway.ps1 did: task, port proxy, firewall rules, and the line in .wslconfig.
.DESCRIPTION
  What is gone already is no mistake. The gateway's container and its volumes stay. With -WhatIf it says what it would do.
#>
[CmdletBinding(SupportsShouldProcess)]
param(
  [switch]$KeepWslRunning  # a change of .wslconfig then counts from the next start of WSL
)
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'MenderGateway.psm1') -Force
$names = Get-GatewayNames
$state = Read-State
if ($null -eq $state) { Write-Output 'nothing was set up'; return }
if (-not $PSCmdlet.ShouldProcess("TCP port $($state.Port), $($state.Mode)", 'remove rules, task and settings')) { return }

Get-ScheduledTask -TaskName $names.Task -ErrorAction SilentlyContinue | Unregister-ScheduledTask -Confirm:$false
Get-NetFirewallRule -Name $names.FirewallRule -ErrorAction SilentlyContinue | Remove-NetFirewallRule
if (Get-Command Get-NetFirewallHyperVRule -ErrorAction SilentlyContinue) {
  Get-NetFirewallHyperVRule -Name $names.HyperVRule -ErrorAction SilentlyContinue | Remove-NetFirewallHyperVRule
}
if ($state.Mode -eq 'Nat') {
  & netsh.exe interface portproxy delete v4tov4 listenaddress=0.0.0.0 "listenport=$($state.Port)" | Out-Null
}
elseif (Test-Path -LiteralPath $state.Config) {
  $lines = @(Get-Content -LiteralPath $state.Config)
  # Somebody who changed it since wants what is there.
  if ((Get-IniValue -Lines $lines -Section 'wsl2' -Key 'networkingMode') -eq 'mirrored') {
    Set-IniValue -Lines $lines -Section 'wsl2' -Key 'networkingMode' -Value $state.NetworkingMode |
      Set-Content -LiteralPath $state.Config -Encoding ASCII
    if (-not $KeepWslRunning) {
      & wsl.exe --shutdown
      Write-Output 'WSL was shut down: restart Docker Desktop now'
    }
  }
}
Remove-Item -LiteralPath $names.Directory -Recurse -Force
Write-Output 'undone'
